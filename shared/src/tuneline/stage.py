"""The contract between a stage and everything that runs it.

A stage is a plain function over local paths::

    def run(params: SlicerParams, inputs: SlicerInputs, outputs: SlicerOutputs, context: Context) -> Metrics

It never talks to a store, reads the environment, parses arguments or knows a scheduler: the runner fetches its inputs,
publishes its outputs and turns its exceptions into exit codes. Where an input comes from is said once, in the
stage's `Inputs`; the order of the stages follows from that and from nothing else.

It raises UserError or Temporary (`tuneline.errors`); anything else is a bug. What can be known to be wrong from what a
run file gives, its `check` says before any stage starts::

    def check(params: SlicerParams, checks: Checks) -> None
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.fields import FieldInfo

Json: TypeAlias = JsonValue


class Closed(BaseModel):
    """Part of a record: frozen, without unknown keys and infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Usage(Closed):
    """Answered calls to a model, and what they took."""

    calls: int = Field(default=0, ge=0)
    input_tokens: int = Field(default=0, ge=0)
    """Tokens of the prompts, cached ones included."""
    cached_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cost_usd: float = Field(default=0.0, ge=0)
    """As far as prices are known."""
    unpriced: int = Field(default=0, ge=0)
    """Calls whose price is not known."""

    def __add__(self, other: Usage) -> Usage:
        ours, theirs = self.model_dump(), other.model_dump()
        return Usage.model_validate({name: round(value + theirs[name], 9) for name, value in ours.items()})


class Spent(Closed):
    """What one role's calls to one model took: `total` and `now` as in Cost."""

    role: str
    """judge · simulator · generator"""
    model: str
    total: Usage = Usage()
    now: Usage = Usage()


class Cost(Closed):
    """Money that a result took, in US dollars; the same in every stage."""

    total_usd: float = 0.0
    """Every call whose answer is part of the result, whichever run or attempt paid for it."""
    now_usd: float = 0.0
    """The calls of the attempt that made the result."""
    rows: tuple[Spent, ...] = ()
    """The same by role and model."""

    @classmethod
    def of(cls, *rows: Spent) -> Cost:
        paid = tuple(row for row in rows if row.total.calls or row.now.calls)
        total, now = sum(row.total.cost_usd for row in rows), sum(row.now.cost_usd for row in rows)
        return cls(total_usd=round(total, 6), now_usd=round(now, 6), rows=paid)

    def __add__(self, other: Cost) -> Cost:
        total, now = self.total_usd + other.total_usd, self.now_usd + other.now_usd
        return Cost(total_usd=round(total, 6), now_usd=round(now, 6), rows=self.rows + other.rows)


class Account(Protocol):
    """What the calls of one role to one model cost in this run. Safe for threads."""

    def reserve(self, most_usd: float | None) -> bool:
        """Set aside what a call may cost, None if unknown. False: calls in flight may leave enough, so ask again.

        Raises OverBudget when it could exceed what the run may spend, UserError when nobody can tell.
        """

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        """Put what a call took in place of what was set aside; a lost call is one that the server may bill anyway."""


class Metrics(Closed):
    """What a stage reports about its work. How long it took is the runner's to say."""

    headline: str
    """What came out, in one line for people."""
    counts: dict[str, Json] = Field(default_factory=dict)
    """Figures and short facts by name."""
    cost: Cost = Cost()
    """What calls to models cost."""


class Params(Closed):
    """Parameters of a stage: frozen and closed. Each has a constraint and one sentence with unit and trade-off."""


class Inputs(Closed):
    """Input ports of a stage as read-only local paths; an absent optional input is None."""


class Outputs(Closed):
    """Output ports of a stage as local paths to write; a folder port exists already and is empty."""


def pace(default: Any, **constraints: Any) -> Any:
    """Declare a parameter that changes how fast a stage works, never what it makes: it is not in the fingerprint."""
    return Field(default=default, json_schema_extra={"pace": True}, **constraints)


def given(*patterns: str, optional: bool = False, split: bool = False) -> Any:
    """Declare an input that the run file names. Only files that match `patterns` (all, if none) are read and hashed.

    With `split` it is a folder with a file per item, and the stage is sharded: its parameter `shards` says into how
    many results its work is split. A shard sees, and is identified by, the files whose names hash to it, so that a new
    item changes one shard.
    """
    return _input(None, None, patterns, optional, split)


def output_of(stage: str, port: str | None = None, *, optional: bool = False) -> Any:
    """Declare an input that `stage` (or `stage@variant`) makes in the same run; `port` defaults to this name.

    If `optional`, it is read only when that stage is part of the run anyway. Of a sharded stage it is a folder with one
    folder per shard, as in `3-of-10/<name of the port's file>`.
    """
    return _input(stage, port, (), optional, False)


def file_name(name: str) -> Any:
    """Declare an output port that is one file."""
    return Field(json_schema_extra={"file": name})


def page(name: str) -> Any:
    """Declare an output port that is one page for people, which commands and workflows link to."""
    return Field(json_schema_extra={"page": name})


def folder_name(name: str) -> Any:
    """Declare an output port that is a folder."""
    return Field(json_schema_extra={"folder": name})


def without(*inputs: str) -> frozenset[str]:
    """Name the inputs that a variant of a stage does not have."""
    return frozenset(inputs)


def _input(stage: str | None, port: str | None, patterns: tuple[str, ...], optional: bool, split: bool) -> Any:
    source: dict[str, Any] = {"stage": stage, "port": port, "patterns": list(patterns)}
    return Field(default=None if optional else ..., json_schema_extra=source | {"optional": optional, "split": split})


class InputPort(NamedTuple):
    """One input as declared: `stage` is None for a given input, else the stage (or `stage@variant`) that makes it."""

    name: str
    stage: str | None
    port: str
    patterns: tuple[str, ...]
    optional: bool
    description: str
    split: bool = False


OutputKind = Literal["file", "folder", "page"]


class OutputPort(NamedTuple):
    """One output as declared; `path` is its name inside a result."""

    name: str
    path: str
    kind: OutputKind
    description: str


class InputRecord(Closed):
    """One input as a run used it. `uri` is None for inline content; `producer` is `stage/fingerprint` of its maker."""

    uri: str | None
    sha256: str
    size: int = Field(ge=0, lt=1 << 63)
    count: int
    producer: str | None = None


class Part(NamedTuple):
    """One of several shares of a stage's work: number `number`, from 1, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, text: str) -> Part | None:
        """Read `3-of-10` or `3/10`; None for anything else."""
        found = re.fullmatch("([0-9]{1,6})(?:-of-|/)([0-9]{1,6})", text)
        part = cls(int(found[1]), int(found[2])) if found else None
        return part if part and 1 <= part.number <= part.of else None

    def has(self, item: str) -> bool:
        """Tell whether an item belongs to this part; it does to exactly one, whatever other items there are."""
        return int.from_bytes(hashlib.sha256(item.encode()).digest()[:8], "big") % self.of == self.number - 1

    def share(self, count: int) -> range:
        """Return the places, of `count` items in order, that belong to this part."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)


class Journal(Protocol):
    """Items that cost money or time, kept one by one and shared by all runs of the store. Safe for threads."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the row kept under `key`, or None."""

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep `row` under `key`; it is durable within about a second, and at the latest when the stage ends."""


class Memory(Protocol):
    """Knows which transcripts were forgotten (`tuneline forget`) and are to be left out."""

    def is_forgotten(self, name: str, sha256: str) -> bool:
        """Tell whether the transcript of this id or content was forgotten."""


class Context(Memory, Protocol):
    """What a stage may ask of its runner."""

    @property
    def state(self) -> Path:
        """Folder for checkpoints of this fingerprint. Write `name.part`, then rename: whole entries survive a kill."""

    @property
    def fingerprint(self) -> str:
        """Identity of the result being made, 64 hex digits."""

    @property
    def lineage(self) -> Mapping[str, InputRecord]:
        """Where each input came from, by port."""

    @property
    def part(self) -> Part | None:
        """Of a stage with `parts`: the part to do. It fills journals and writes no outputs; None is the whole stage."""

    def journal(self, *scope: str) -> Journal:
        """Open the journal of `scope`: everything that a paid item depends on apart from its key."""

    def account(self, role: str, model: str) -> Account:
        """Return what keeps count of calls to a model; hand it to the client that makes them."""

    def progress(self, done: int, total: int) -> None:
        """Report progress. Also a safe point: raises Temporary after SIGTERM."""

    def secret(self, name: str) -> str:
        """Return the secret in variable `name` or in the file that `name`_FILE names. Raises UserError without both."""


A = ParamSpec("A")
T = TypeVar("T")


class Checks(Protocol):
    """What a stage may ask while it checks what is given, before any stage starts, and where it says what it found."""

    inputs: Mapping[str, Path]
    """The inputs that are there, by port: given, or previews by earlier checks. Of weights only the headers may be."""
    work: Path | None
    """Where the stages will work, with the programs, memory and disk of this machine; None: on another machine."""
    max_usd: float | None
    """What the run may spend on calls to models; None is without limit."""
    online: bool
    """Whether models may be asked, which costs money."""

    def read(self, port: str, reader: Callable[Concatenate[Path, A], T], *args: A.args, **kwargs: A.kwargs) -> T | None:
        """Return what `reader` makes of an input; None if it is not there, or refused, which is noted as a problem."""

    def about(self, name: str) -> AbstractContextManager[None, bool | None]:
        """Note a UserError of the block as a problem of the input or parameter `name`, and go on behind it."""

    def warn(self, name: str, text: str) -> None:
        """Note what works and should be changed; it stops nothing."""

    def note(self, text: str) -> None:
        """Note a figure for people."""

    def setting(self, stage: str, name: str) -> Json:
        """Return a parameter of a stage of this run; None if it has no such stage."""

    def preview(self, port: str) -> Path:
        """Return where to write what this stage would make, as far as it is known: later checks read it as an input."""

    def secret(self, name: str) -> str:
        """Return a secret, as `Context.secret` does."""


class Forecast(NamedTuple):
    """What the calls of one role to one model will take, as far as it can be said before."""

    role: str
    model: str
    total: Usage
    """All calls of the result."""
    held: Usage
    """Those of them whose answers a journal holds."""
    left_usd: float | None
    """What the others will cost; None: the price is not known."""
    left_seconds: float
    """How long the others will take."""


class Plans(Checks, Memory, Protocol):
    """What a stage may ask while it says what its calls to models will take."""

    def journal(self, *scope: str) -> Journal:
        """Return the journal of `scope`, to be read."""

    def made(self, stage: str, port: str) -> Path | None:
        """Return the output of another stage, or what its check has written in its place; None if there is neither."""


P = TypeVar("P", bound=Params)
I = TypeVar("I", bound=Inputs)  # noqa: E741
O = TypeVar("O", bound=Outputs)  # noqa: E741


@dataclass(frozen=True)
class Stage(Generic[P, I, O]):
    """One step with one job. Raise `version` when the same inputs and params would give other results."""

    name: str
    version: int
    params: type[P]
    inputs: type[I]
    outputs: type[O]
    run: Callable[[P, I, O, Context], Metrics]
    variants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parts: bool = False
    """Whether several processes may share the work by `--part`: a part only fills journals, the stage is the merge."""
    check: Callable[[P, Checks], None] | None = None
    """Says what is wrong with what is given. It takes seconds, writes nothing and imports only what is light."""
    plan: Callable[[P, Plans], Iterable[Forecast]] | None = None
    """Says what calls to models will take, after `check`."""

    @property
    def sharded(self) -> bool:
        """Whether its work is split into several results, as its parameter `shards` says."""
        return any(port.split for port in self.input_ports())

    def input_ports(self, variant: str | None = None) -> tuple[InputPort, ...]:
        """Return the inputs in declared order, without those that `variant` does not have."""
        absent = self.variants[variant] if variant else frozenset()
        return tuple(_input_port(n, f) for n, f in self.inputs.model_fields.items() if n not in absent)

    def output_ports(self) -> tuple[OutputPort, ...]:
        return tuple(_output_port(n, f) for n, f in self.outputs.model_fields.items())


AnyStage = Stage[Any, Any, Any]


def installed_stages() -> dict[str, AnyStage]:
    """Return every stage whose package is installed, by name. Their heavy dependencies are not imported."""
    return {e.name: e.load() for e in sorted(entry_points(group="tuneline.stages"), key=lambda e: e.name)}


def _extra(info: FieldInfo) -> dict[str, Any]:
    extra = info.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _input_port(name: str, info: FieldInfo) -> InputPort:
    extra = _extra(info)
    port = extra["port"] or name
    patterns, text = tuple(extra["patterns"]), info.description or ""
    return InputPort(name, extra["stage"], port, patterns, extra["optional"], text, extra["split"])


def _output_port(name: str, info: FieldInfo) -> OutputPort:
    extra = _extra(info)
    kind: OutputKind = next(kind for kind in get_args(OutputKind) if kind in extra)
    return OutputPort(name, extra[kind], kind, info.description or "")
