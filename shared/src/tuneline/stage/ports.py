"""How a stage declares its parameters and ports."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field
from pydantic.fields import FieldInfo

from tuneline.stage.records import Closed


class Params(Closed):
    """Parameters of a stage: frozen and closed. Each has a constraint and one sentence with unit and trade-off."""


class Inputs(Closed):
    """Input ports of a stage as read-only local paths; an absent optional input is None."""


class Outputs(Closed):
    """Output ports of a stage as local paths to write; a folder port exists already and is empty."""


def pace(default: Any, **constraints: Any) -> Any:
    """Declare a parameter that changes how fast a stage works, never what it makes: it is not in the fingerprint."""
    return Field(default=default, json_schema_extra={"pace": True}, **constraints)


def given(
    *patterns: str, optional: bool = False, split: bool = False, after: str | None = None, text: bool = False
) -> Any:
    """Declare an input that the run file names. Only files that match `patterns` (all, if none) are read and hashed.

    With `split` it is a folder with a file per item, and the stage is sharded: its parameter `shards` says into how
    many results its work is split. A shard sees, and is identified by, the files whose names hash to it, so that a new
    item changes one shard. `after` is the stage whose output is usually named: workflows, whose graph is the same for
    all runs, wait for it; a run on one machine does so only if it is named. `text` is read as it stands: content of
    the run file itself, which would be JSON, is refused.
    """
    return _input(None, None, patterns, optional, split, after=after, text=text)


def output_of(stage: str, port: str | None = None, *, optional: bool = False) -> Any:
    """Declare an input that `stage` (or `stage@variant`) makes in the same run; `port` defaults to this name.

    If `optional`, it is read only when that stage is part of the run anyway. Of a sharded stage it is a folder with one
    folder per shard, as in `3-of-10/<name of the port's file>`.
    """
    return _input(stage, port, (), optional, False)


def found(stage: str, port: str | None = None) -> Any:
    """Declare an input that `stage` made in the run before, whatever command that was; None if the run has none.

    It is no edge: nothing is made for a stage that takes a run as it is. `port` defaults to this name.
    """
    return _input(stage, port, (), True, False, found=True)


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


def _input(
    stage: str | None, port: str | None, patterns: tuple[str, ...], optional: bool, split: bool, *,
    found: bool = False, after: str | None = None, text: bool = False,
) -> Any:  # fmt: skip
    source: dict[str, Any] = {"stage": stage, "port": port, "patterns": list(patterns)}
    extra = source | {"optional": optional, "split": split, "found": found, "after": after, "text": text}
    return Field(default=None if optional else ..., json_schema_extra=extra)


class InputPort(NamedTuple):
    """One input as declared: `stage` is None for a given input, else the stage (or `stage@variant`) that makes it."""

    name: str
    stage: str | None
    port: str
    patterns: tuple[str, ...]
    optional: bool
    description: str
    split: bool = False
    found: bool = False
    """Whether it is read if the run has it, and never made for this stage."""
    after: str | None = None
    """Of a given input: the stage whose output it may well be."""
    text: bool = False
    """Whether it is text as it stands, which a run file can only name."""


OutputKind = Literal["file", "folder", "page"]


class OutputPort(NamedTuple):
    """One output as declared; `path` is its name inside a result."""

    name: str
    path: str
    kind: OutputKind
    description: str


def _extra_of(info: FieldInfo) -> dict[str, Any]:
    extra = info.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def input_port(name: str, info: FieldInfo) -> InputPort:
    """Return the input that a field of `Inputs` declares."""
    extra = _extra_of(info)
    port = extra["port"] or name
    return InputPort(
        name, extra["stage"], port, tuple(extra["patterns"]), extra["optional"], info.description or "",
        extra["split"], extra["found"], extra["after"], extra["text"],
    )  # fmt: skip


def output_port(name: str, info: FieldInfo) -> OutputPort:
    """Return the output that a field of `Outputs` declares."""
    extra = _extra_of(info)
    kind: OutputKind = next(kind for kind in get_args(OutputKind) if kind in extra)
    return OutputPort(name, extra[kind], kind, info.description or "")
