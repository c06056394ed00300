"""Values that a command line puts in place of a file's, as `trainer.epochs=1`, and settings without some values."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from tuneline.errors import UserError
from tuneline.parsing.problems import Loc, printable
from tuneline.parsing.yaml import YamlFile, yaml_of

GIVEN = 0
"""The line of what stands in no file."""


def with_settings(source: YamlFile, settings: Sequence[str]) -> YamlFile:
    """Return the file as if it held each `key.key=value`, where the value is YAML. Raises UserError."""
    content, lines = copy.deepcopy(source.content) or {}, dict(source.lines)
    for setting in settings:
        name, equals, text = setting.partition("=")
        loc: Loc = tuple(name.split("."))
        if not equals or not all(loc):
            raise UserError(f"--set {printable(setting)}: write it as trainer.epochs=1")
        value = yaml_of(f"--set {printable(name)}", text.encode(errors="surrogateescape"))
        _put(content, loc, value.content, name)
        lines = {place: line for place, line in lines.items() if place[: len(loc)] != loc}
        lines = {loc[:n]: GIVEN for n in range(1, len(loc))} | lines  # also what the file has no line of
        lines |= {(*loc, *below): GIVEN for below in (*value.lines, ())}
    return YamlFile(source.name, content, lines)


def _put(content: Any, loc: Loc, value: object, name: str) -> None:
    for key in loc[:-1]:
        if isinstance(content, dict) and content.get(key) is None:
            content[key] = {}
        content = content[key] if isinstance(content, dict) else None
    if not isinstance(content, dict):
        raise UserError(f"--set {printable(name)}: what it stands in is no mapping")
    content[loc[-1]] = value


def without(content: object, locs: Iterable[Loc]) -> object:
    """Return a copy of parameters without the values at `locs`; of what is not there, without what should hold it."""
    rest = copy.deepcopy(content) if isinstance(content, dict) else {}
    for loc in locs:
        holder, last, value = rest, None, rest
        for key in loc:
            if not isinstance(value, dict) or key not in value:
                break
            holder, last, value = value, key, value[key]
        if last is not None:
            del holder[last]
    return rest
