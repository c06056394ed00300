"""The inputs of one stage: found, fetched to local paths, and pinned in the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuneline.engine.given import Fetched, fetch_given, known_from, known_to, list_given
from tuneline.engine.identity import canonical_json, sha256_json
from tuneline.engine.records import InputPin, OutputRecord, pinned_manifest, read_input_pins
from tuneline.engine.runfile import Node, RunFile
from tuneline.errors import UserError
from tuneline.stage import InputPort, InputRecord
from tuneline.store.base import FileRecord, Store, in_parallel


@dataclass(frozen=True)
class GivenInput:
    """An input that the run file names: pinned by the first stage that reads it, the same for all later ones."""

    port: InputPort
    record: InputRecord
    fetched: Fetched

    @property
    def path(self) -> Path:
        """The local path."""
        return self.fetched.path

    @property
    def pin(self) -> InputPin:
        """What later stages must see."""
        digests = {name: file.sha256 for name, file in self.fetched.files.items()}
        return InputPin(uri=self.record.uri, sha256=self.record.sha256, files=digests)

    def pin_key(self, run: str) -> str:
        """Key of the pin. A stage that reads only some files of a folder pins these under a name of their own."""
        some = f"@{sha256_json(self.port.patterns)[:8]}" if self.port.patterns else ""
        return f"runs/{run}/inputs/{self.port.name}{some}.json"


@dataclass(frozen=True)
class MadeInput:
    """An input that another stage of the run made."""

    port: InputPort
    record: InputRecord
    output: OutputRecord
    store: Store
    folder: Path

    @cached_property
    def path(self) -> Path:
        """The local path: in place on a file store, else downloaded on first use."""

        def fetch(name: str, record: FileRecord) -> Path:
            place = self.store.local(record)
            if place is None:
                place = self.folder / name
                self.store.download(record, place)
            return place

        files = self.output.files
        name, place = next(zip(files, in_parallel(fetch, files, files.values()), strict=True))
        return place if self.output.kind != "folder" else place.parents[len(Path(name).parts) - 1]


Resolved = GivenInput | MadeInput


def resolve_inputs(run_file: RunFile, node: Node, store: Store, folder: Path) -> dict[str, Resolved]:
    """Find and hash every input of `node`; nothing is written to the store.

    Raises UserError for a missing input, a stage that has not run yet, or a file that cannot be read.
    """
    resolved: dict[str, Resolved] = {}
    for port in node.stage.input_ports(node.variant):
        if port.name in run_file.inputs:
            resolved[port.name] = _given(run_file, port, store, folder / port.name)
        elif port.stage in node.needs:
            resolved[port.name] = _made(run_file, port, node, store, folder / port.name)
        elif not port.optional:
            raise UserError(
                f"{run_file.source.where(('inputs', port.name))}: is missing. {node.name} needs it: {port.description}"
            )
    return resolved


def check_given(run_file: RunFile, nodes: tuple[Node, ...]) -> None:
    """Refuse, before any stage starts, inputs that are missing from the run file or name a path that does not exist."""
    problems = []
    for node in nodes:
        for port in node.stage.input_ports(node.variant):
            where = run_file.source.where(("inputs", port.name))
            value = run_file.inputs.get(port.name)
            if value is None and port.stage is None and not port.optional:
                problems.append(f"{where}: is missing. {node.name} needs it: {port.description}")
            elif isinstance(value, str) and "://" not in value and not Path(value).exists():
                problems.append(f"{where}: {value} does not exist")
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))


def _given(run_file: RunFile, port: InputPort, store: Store, folder: Path) -> GivenInput:
    value = run_file.inputs[port.name]
    uri = value if isinstance(value, str) else _write_inline(value, folder)
    try:
        listed = list_given(uri, port.patterns)
        data = store.get(_known_key(port, listed.uri)) if isinstance(value, str) else None
        fetched = fetch_given(listed, folder, known_from(data))
    except UserError as e:
        raise UserError(f"{run_file.source.where(('inputs', port.name))}: {e}") from None
    shown = fetched.uri if isinstance(value, str) else None
    record = InputRecord(uri=shown, sha256=fetched.sha256, size=fetched.size, count=fetched.count)
    return GivenInput(port, record, fetched)


def _write_inline(content: Any, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "inline.json"
    path.write_bytes(canonical_json(_plain(content)))
    return str(path)


def _plain(content: Any) -> Any:
    """Write 2.0 as 2: a workflow hands numbers on so, and the content must have the same identity there and here."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content


def _made(run_file: RunFile, port: InputPort, node: Node, store: Store, folder: Path) -> MadeInput:
    assert port.stage is not None
    manifest = pinned_manifest(store, run_file.run, port.stage)
    if manifest is None:
        raise UserError(
            f"{node.name} reads `{port.port}` of {port.stage}, which has no result in run {run_file.run} yet"
        )
    output = manifest.outputs[port.port]
    producer = f"{manifest.stage}/{manifest.fingerprint}"
    record = InputRecord(
        uri=f"{store.uri}/results/{producer}#{port.port}",
        sha256=output.sha256, size=output.size, count=len(output.files), producer=producer,
    )  # fmt: skip
    return MadeInput(port, record, output, store, folder)


def pin_inputs(store: Store, run: str, inputs: Mapping[str, Resolved], *, replace: bool, write: bool) -> None:
    """Compare given inputs with the run's pins and, if `write`, pin them with a conditional put.

    Raises UserError when an input is not what an earlier stage of the run saw.
    """
    for name, found in inputs.items():
        if not isinstance(found, GivenInput):
            continue
        if not replace:
            for key, pin in read_input_pins(store, run, name):
                _compare(name, run, key == found.pin_key(run), pin, found.pin)
        if write:
            store.put(found.pin_key(run), found.pin.to_bytes(), if_absent=not replace)
            if found.record.uri is not None:
                store.put(_known_key(found.port, found.record.uri), known_to(found.fetched))
    if write and not replace:
        pin_inputs(store, run, inputs, replace=False, write=False)


def _compare(name: str, run: str, same_files: bool, old: InputPin, new: InputPin) -> None:
    changed = sorted(f for f in old.files.keys() & new.files.keys() if old.files[f] != new.files[f])
    if same_files and old.sha256 != new.sha256:
        changed = changed or sorted(old.files.keys() ^ new.files.keys()) or [str(new.uri)]
    elif not old.files and not new.files and old.uri != new.uri:
        changed = [str(new.uri)]
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UserError(
            f"inputs.{name}: not what run {run} was started with ({shown}). Use another run name, or --replace to "
            "move this run to the new content"
        )


def _known_key(port: InputPort, uri: str) -> str:
    return f"inputs/{port.name}-{sha256_json([uri, *port.patterns])[:16]}.json"
