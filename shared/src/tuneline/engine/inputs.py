"""The inputs of one stage: found and known by hash first, brought to local paths when the stage works."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.addresses.given import Identified, identify, known_from
from tuneline.engine.addresses.listing import list_given
from tuneline.engine.identity import canonical_json, folder_sha256
from tuneline.engine.layout import input_pin_key, known_key, result_key
from tuneline.engine.origin import inline_name
from tuneline.engine.pipelines import Address, Inline, Step
from tuneline.engine.records import InputPin, pinned_manifest
from tuneline.engine.runfile import RunFile
from tuneline.errors import UserError
from tuneline.stage import AnyStage, InputPort, InputRecord, Json, Params, Part, installed_stages
from tuneline.store.base import FileRecord, Store, in_parallel
from tuneline.store.verify import FileCache, plain_errors


class Job(NamedTuple):
    """One step of one run, to be done. `scratch` is this attempt's private folder."""

    run_file: RunFile
    step: Step
    store: Store
    scratch: Path
    attempt: str
    replace: bool = False
    cache: FileCache = FileCache()
    part: Part | None = None
    """The part of the stage to do, of one with `parts`."""

    @property
    def run(self) -> str:
        return self.run_file.run

    @property
    def label(self) -> str:
        """Name of the attempt in records of the run, with the part that it does."""
        return f"{self.part}-{self.attempt}" if self.part else self.attempt

    @property
    def params(self) -> Params:
        return self.run_file.params[self.step.stage.name]


@dataclass(frozen=True)
class InlineFile:
    """Content of the run file itself, which becomes a file when a stage asks for its path."""

    data: bytes
    path: Path

    uri = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def digests(self) -> dict[str, str]:
        return {"inline.json": self.sha256}

    def write(self) -> Path:
        with plain_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(self.data)
        return self.path


@dataclass(frozen=True)
class GivenInput:
    """An input that the run file names: pinned by the first stage that reads it, the same for all later ones."""

    port: InputPort
    source: Identified | InlineFile

    @property
    def path(self) -> Path:
        return self.source.write() if isinstance(self.source, InlineFile) else self.source.path

    @property
    def record(self) -> InputRecord:
        found, count = self.source, len(self.source.files) if isinstance(self.source, Identified) else 1
        return InputRecord(uri=found.uri, sha256=found.sha256, size=found.size, count=count)

    @property
    def pin(self) -> InputPin:
        return InputPin(uri=self.source.uri, sha256=self.source.sha256, files=self.source.digests)

    def pin_key(self, run: str) -> str:
        return input_pin_key(run, self.port.name, self.selection)

    @property
    def selection(self) -> tuple[str, ...]:
        return _selection(self.port, self.source.given.shard if isinstance(self.source, Identified) else None)


@dataclass(frozen=True)
class MadeInput:
    """An input that another step of the run made, or all shards of one; `files` is by name inside it."""

    port: InputPort
    record: InputRecord
    files: Mapping[str, FileRecord]
    is_folder: bool
    in_place: bool
    job: Job

    @cached_property
    def path(self) -> Path:
        """In place on a file store, else downloaded on first use."""
        folder, store, cache = self.job.scratch / "inputs" / self.port.name, self.job.store, self.job.cache

        def fetch(name: str, record: FileRecord) -> Path:
            here, place = store.local(record), folder / name
            if here is not None and self.in_place:
                return here
            if here is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(here)
            elif not cache.take(record.sha256, place):
                store.download(record, place)
                cache.keep(record.sha256, place)
            return place

        name, place = next(zip(self.files, in_parallel(fetch, self.files, self.files.values()), strict=True))
        return place.parents[len(Path(name).parts) - 1] if self.is_folder else place


Resolved = GivenInput | MadeInput


class Found(NamedTuple):
    """The inputs of a job and the identity of the result that it would make."""

    inputs: dict[str, Resolved]
    fingerprint: str

    @property
    def given(self) -> list[GivenInput]:
        return [found for found in self.inputs.values() if isinstance(found, GivenInput)]


def resolve_inputs(job: Job) -> dict[str, Resolved]:
    """Find and identify every input; only what nobody has read yet is read, and nothing is written to the store.

    Raises UserError for a missing input, a stage that has not run yet, or a file that cannot be read.
    """
    resolved: dict[str, Resolved] = {}
    for port, source in job.step.sources(job.run_file.inputs):
        if isinstance(source, Address | Inline):
            resolved[port.name] = _given(job, port, source)
        elif source and (nodes := _makers(job, port, source.node)):
            resolved[port.name] = _made(job, port, nodes, source.port)
        elif not port.optional:
            raise UserError(missing_input(job.run_file, job.step, port))
    return resolved


def _makers(job: Job, port: InputPort, made_by: str) -> list[str]:
    """Return the nodes whose output an input is: those of this run's plan, or the one that the run has already."""
    if port.found:
        return [made_by] if pinned_manifest(job.store, job.run, made_by) else []
    return [name for name in job.step.needs if name.partition("/")[0] == made_by]


def inline_file(name: str, content: Json, folder: Path) -> InlineFile:
    """Return content of the run file as a file in `folder`."""
    return InlineFile(canonical_json(_plain(content)), folder / inline_name(name))


def missing_input(run_file: RunFile, step: Step, port: InputPort) -> str:
    """Return what to say about an input that a step needs and the run file does not give."""
    where = run_file.source.where(("inputs", port.name))
    told = f"{where}: is missing. {step.name} needs it: {port.description}"
    if maker := _maker(run_file, port):
        told += f" The {maker}, whose settings or inputs are here, makes it: `{port.name}: output:{maker}/{port.name}`"
    return told


def _maker(run_file: RunFile, port: InputPort) -> str | None:
    """Return a stage that is no step of the run, makes this, and has settings or inputs of its own in the file."""
    steps = {step.stage.name: step.stage for step in run_file.steps}
    written, inputs = run_file.source.content, run_file.inputs.keys() - _ports(steps.values())
    return next((
        name for name, stage in installed_stages().items()
        if name not in steps and port.name in {made.name for made in stage.output_ports()}
        and (name in written or inputs & _ports([stage]))
    ), None)  # fmt: skip


def _ports(stages: Iterable[AnyStage]) -> set[str]:
    return {port.name for stage in stages for port in stage.input_ports()}


def _given(job: Job, port: InputPort, value: Address | Inline) -> GivenInput:
    folder = job.scratch / "inputs" / port.name
    if isinstance(value, Inline):
        return GivenInput(port, inline_file(port.name, value.content, folder))
    try:
        shard = job.step.shard if port.split else None
        listed = list_given(value.uri, port.patterns, value.within, shard)
        key = known_key(port.name, listed.uri, _selection(port, shard))
        known = known_from(job.cache.noted(key) or job.store.get(key))
        return GivenInput(port, identify(listed, folder, known, job.cache))
    except UserError as e:
        raise UserError(f"{job.run_file.source.where(('inputs', port.name))}: {e}") from None


def _selection(port: InputPort, shard: Part | None) -> tuple[str, ...]:
    """Return what tells the files that are read from others of the same folder."""
    return (*port.patterns, str(shard)) if shard else port.patterns


def _plain(content: Json) -> Json:
    """Write 2.0 as 2: a workflow hands numbers on so, and the content must have the same identity there and here."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content


def _made(job: Job, port: InputPort, nodes: list[str], made: str) -> MadeInput:
    """Find the output `made` of a node, or of all shards of one: then each has a folder of its own."""
    manifests = {node: pinned_manifest(job.store, job.run, node) for node in nodes}
    if missing := [node for node, manifest in manifests.items() if manifest is None]:
        raise UserError(
            f"{job.step.name} reads `{made}` of {', '.join(missing)}, which has no result in run {job.run} yet: "
            "run that first"
        )
    found = {node: manifest for node, manifest in manifests.items() if manifest is not None}
    first = found[nodes[0]].outputs[made]
    files, sha256, sharded = dict(first.files), first.sha256, "/" in nodes[0]
    if sharded:
        shards = {node.partition("/")[2]: manifest.outputs[made].files for node, manifest in found.items()}
        files = {f"{shard}/{name}": record for shard, some in shards.items() for name, record in some.items()}
        sha256 = folder_sha256({name: record.sha256 for name, record in files.items()})
    producer = f"{found[nodes[0]].stage}/{'+'.join(manifest.fingerprint for manifest in found.values())}"
    record = InputRecord(
        uri=f"{job.store.uri}/{result_key(*producer.split('/'))}#{made}",
        sha256=sha256, size=sum(file.size for file in files.values()), count=len(files), producer=producer,
    )  # fmt: skip
    return MadeInput(port, record, files, sharded or first.kind == "folder", not sharded, job)
