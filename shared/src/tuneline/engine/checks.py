"""Checks a run before anything expensive: every stage looks at what is given, and all problems are said at once.

A stage's `check` gets the inputs that are there; what an earlier check has previewed stands in for what that stage will
make. Nothing is written but below a folder that goes when the check ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from tuneline.engine.addresses.glimpse import glimpse
from tuneline.engine.context import read_secret
from tuneline.engine.inputs import inline_file, missing_input
from tuneline.engine.origin import named_by_origin
from tuneline.engine.pipelines import REFUSED, Address, Inline, OutputOf, Step
from tuneline.engine.places import StorePlace, open_place
from tuneline.engine.runfile import OUTPUT, RunFile
from tuneline.errors import NothingWanted, Temporary, UserError
from tuneline.stage import Json
from tuneline.store.base import Store, is_local
from tuneline.store.verify import FileCache, plain_disk_errors

A = ParamSpec("A")
T = TypeVar("T")

_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SETTINGS = ("judge", "simulator", "writer", "critic")
"""Inputs that people take for the name of a model, and that are its settings."""
_PLACE = re.compile(r"[^\s:][^\n:]*:\d+(?::|$)|parameter ")


class Where(NamedTuple):
    """Circumstances of a check. `folder` is for its own files; in `work` the stages will work, if on this machine."""

    folder: Path
    cache: FileCache = FileCache()
    work: Path | None = None
    online: bool = False
    ours: bool = True
    """Whether keys and access are those of the stages; else what is missing, or out of reach, is a warning."""


@dataclass
class Findings:
    """What checks found: lines for people, each once. `unreached` is what could not be looked at now."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    def settle(self) -> list[str]:
        """Return the warnings, each once. Raises as `refuse`."""
        self.refuse()
        return list(dict.fromkeys(self.warnings))

    def refuse(self) -> None:
        """Raise UserError with all problems, else Temporary with what could not be looked at."""
        unreached = list(dict.fromkeys(self.unreached))
        if self.problems:
            raise UserError("\n".join([*dict.fromkeys(self.problems), *(f"not checked: {one}" for one in unreached)]))
        if unreached:
            raise Temporary("\n".join(unreached))


def check_run(
    run_file: RunFile, store: Store, where: Where, done: Collection[str] = (), findings: Findings | None = None,
    also: Callable[[Step, StageChecks], None] | None = None,
) -> Findings:  # fmt: skip
    """Let every stage of the run check what is given, but for the steps that are `done`; return all that is found.

    `also` is called after each check.
    """
    findings, places = findings or Findings(), dict[str, Path | None]()
    steps: dict[str, Step] = {}
    for step in run_file.steps:
        first = steps.get(step.stage.name)
        if step.name not in done and (first is None or (first.variant and not step.variant)):
            steps.pop(step.stage.name, None)
            steps[step.stage.name] = step  # rather than a variant, which is without some of the inputs
    for name, step in steps.items():
        there = dict(_inputs(run_file, step, places, findings, store, where))
        if step.stage.check:
            checks = StageChecks(run_file, step, there, where, findings, store)
            with checks.about(""):
                step.stage.check(run_file.params[name], checks)
            if also is not None:
                also(step, checks)
    return findings


def _inputs(
    run_file: RunFile, step: Step, places: dict[str, Path | None], findings: Findings, store: Store, where: Where
) -> Iterator[tuple[str, Path]]:
    """Yield the inputs of a step that are there; what is missing becomes a problem. `places` keeps what is brought."""
    for port, source in step.sources(run_file.inputs):
        if source == REFUSED:
            continue
        if isinstance(source, Address | Inline):
            if port.name not in places:
                places[port.name] = _bring(run_file, port.name, source, store, where, findings)
            if (place := places[port.name]) is not None:
                yield port.name, place
        elif source:
            preview = _preview(where.folder, source.node, source.port)
            if preview.exists():
                yield port.name, preview
        elif not port.optional and port.name not in places:
            places[port.name] = None  # said once, of the first that needs it
            findings.problems.append(missing_input(run_file, step, port))


def _bring(
    run_file: RunFile, name: str, value: Address | Inline, store: Store, where: Where, findings: Findings
) -> Path | None:
    """Return the local path of a given input; None if it is not there, which is noted."""
    folder, noting, place = where.folder / "inputs" / name, findings, None
    if elsewhere := isinstance(value, Address) and not is_local(value.uri) and not where.ours:
        noting = Findings()
    with _noted(run_file, ("inputs", name), noting, where.folder):
        if isinstance(value, Inline):
            place = inline_file(name, value.content, folder).write()
        else:
            _hint(name, run_file.source.content["inputs"][name], value)
            try:
                place = glimpse(value, name, run_file.selections(name), folder, store, where.cache)
            except NothingWanted as e:
                raise UserError(f"{e} What is wanted: {run_file.meaning(name)}") from None
    if elsewhere:
        findings.warnings += noting.problems + noting.unreached
    return place


def _hint(name: str, written: object, value: Address) -> None:
    """Raise UserError for the name of a model, or what looks like one on the Hub (`org/name`), that is no path here."""
    if not isinstance(written, str) or not is_local(value.uri) or Path(value.uri).exists():
        return
    if name in _SETTINGS and not written.endswith((".yaml", ".yml", ".json")):
        raise UserError(f"{value.uri} does not exist; settings stand here as {{provider: …, model: …}}, or in a file")
    if _ON_HUB.fullmatch(written):
        raise UserError(f"{value.uri} does not exist; if it is on the Hugging Face Hub, write hf://{written}")


def _preview(folder: Path, node: str, port: str) -> Path:
    return folder / "previews" / node.partition("@")[0] / port


@contextmanager
def _noted(run_file: RunFile, loc: tuple[str, ...], findings: Findings, folder: Path) -> Iterator[None]:
    """Note a refusal with its place: the one in its text, else that of `loc` in the run file."""
    try:
        with plain_disk_errors():
            yield
    except UserError as e:
        text, place = named_by_origin(str(e), run_file, folder), run_file.source.where(loc)
        text = text.removeprefix(f"{loc[-1]}: ") if loc else text
        findings.problems.append(text if not loc or _PLACE.match(text) else f"{place}: {text}")
    except Temporary as e:
        findings.unreached.append(f"{run_file.source.where(loc)}: {e}")


class StageChecks:
    """The Checks of one step (see `tuneline.stage.Checks`)."""

    def __init__(
        self, run_file: RunFile, step: Step, inputs: Mapping[str, Path], where: Where, findings: Findings, store: Store
    ) -> None:
        self.inputs, self.work, self.online = inputs, where.work, where.online
        self.max_usd, self.gate, self._ours = run_file.max_usd, run_file.gate, where.ours
        self._run_file, self._step, self._folder, self._findings = run_file, step, where.folder, findings
        self._store = store

    def read(self, port: str, reader: Callable[Concatenate[Path, A], T], *args: A.args, **kwargs: A.kwargs) -> T | None:
        if port in self.inputs:
            with self.about(port):
                return reader(self.inputs[port], *args, **kwargs)
        return None

    def origin(self, port: str) -> str | None:
        source = next((s for one, s in self._step.sources(self._run_file.inputs) if one.name == port), None)
        if isinstance(source, OutputOf):
            return f"{OUTPUT}{source.node}/{source.port}"
        return source.uri if isinstance(source, Address) else source and "inline"

    @contextmanager
    def about(self, name: str) -> Iterator[None]:
        with _noted(self._run_file, self._loc(name), self._findings, self._folder):
            try:
                yield
            except UserError as e:
                found = re.match(r"`([\w.]+)`", str(e))  # it names the parameter itself
                if found and found[1].partition(".")[0] in self._step.stage.params.model_fields:
                    place = self._run_file.source.where(self._loc(found[1]))
                    raise UserError(f"{place}: {str(e).removeprefix(f'`{found[1]}`: ')}") from None
                raise

    def warn(self, name: str, text: str) -> None:
        self._findings.warnings.append(f"{self._run_file.source.where(self._loc(name))}: {text}")

    def note(self, text: str) -> None:
        self._findings.notes.append(f"{self._step.stage.name}: {text}")

    def setting(self, stage: str, name: str) -> Json:
        params = self._run_file.params.get(stage)
        value: Json = params.model_dump(mode="json") if params else None
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def made(self, stage: str, port: str) -> Path | None:
        """Return what another stage's check has previewed, if it has."""
        place = _preview(self._folder, stage, port)
        return place if place.exists() else None

    def preview(self, port: str) -> Path:
        place = _preview(self._folder, self._step.stage.name, port)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def place(self, uri: str) -> StorePlace:
        return open_place(uri, self._store)

    def secret(self, name: str) -> str:
        try:
            return read_secret(name)
        except UserError as e:
            if self._ours:
                raise
            self._findings.warnings.append(f"{e}; the machine that runs the stages needs it")
            return "-"

    def _loc(self, name: str) -> tuple[str, ...]:
        """Return where an input or a parameter stands in the run file."""
        stage = self._step.stage
        if name == "gate":
            return (name,)
        if not name or any(port.name == name for port in stage.input_ports()):
            return ("inputs", name) if name else ()
        return (stage.name, *name.split("."))
