"""What is wrong with what a person wrote: where it stands, and the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Loc = tuple[int | str, ...]
"""Where a value stands: the keys and indices that lead to it."""

_KINDS = {
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"PK\x03\x04": "a ZIP archive or an Office file: unpack it, or save its text",
    b"%PDF-": "a PDF: save its text",
    b"PAR1\x15": "a Parquet file: save it as text",
    b"SQLite format 3\0": "a database: export what is needed as text",
}
"""How files begin that hold no text, and the way out."""

MAX_SHOWN_CHARACTERS = 4000
MAX_PROBLEMS = 100
MAX_NAMED = 5


def printable(text: str) -> str:
    """Return foreign text as one line that is safe to show: what cannot be seen is spelt out, as `\\n` or `\\u202e`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:MAX_SHOWN_CHARACTERS])
    return f"{shown}…" if len(text) > MAX_SHOWN_CHARACTERS else shown


def listed(problems: Sequence[str], count: int | None = None) -> list[str]:
    """Return the first hundred of `count` problems (of these, if it is not given), and the rest as a number."""
    more = (len(problems) if count is None else count) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])]


def shortened(names: Sequence[str], most: int = MAX_NAMED) -> str:
    """Return names for a sentence, the first few and the rest as a number: `a, b and 3 more`."""
    more = len(names) - most
    return printable(", ".join(names[:most])) + (f" and {more:,} more" if more > 0 else "")


def other_kind(data: bytes) -> str | None:
    """Say what a file is that begins as no text does, and the way out."""
    return next((f"not text but {what}" for magic, what in _KINDS.items() if data.startswith(magic)), None)


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return what is wrong with bytes that are no text, and the way out."""
    return other_kind(error.object) or f"not UTF-8 text (byte 0x{error.object[error.start]:02x}); save it as UTF-8"


def line_of(error: UnicodeDecodeError) -> int:
    """Return the line, from 1, of the first byte that is no text."""
    return 1 if other_kind(error.object) else error.object.count(b"\n", 0, error.start) + 1


_SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type"), "input should be a list, as in `[one, two]`"),
    **dict.fromkeys(("dict_type", "model_type"), "input should be a mapping, as in `{key: value}`"),
}
"""What a value must be, by the type of a validation error that says so in Python's words."""


class Source(Protocol):
    """What a person wrote, and how an error names a place in it."""

    @property
    def name(self) -> str: ...

    @property
    def content(self) -> Any: ...

    def where(self, loc: Sequence[int | str]) -> str: ...


def problems_of(error: ValidationError, model: type[BaseModel], source: Source, under: Loc = ()) -> list[str]:
    """Return each problem of a validation error as `file:line: field: problem`, with the name nearest to a typo.

    After a hundred the rest is a number.
    """
    content, told = _at(source.content, under), dict[Loc, list[str]]()
    for one in (dict(e) for e in error.errors(include_url=False) if not _follows(dict(e))):
        told.setdefault(_place(one, model, content), []).append(_problem(one, model))
    shown = [
        f"{source.where((*under, *loc))}: {'; or '.join(dict.fromkeys(problems))}"
        for loc, problems in list(told.items())[:MAX_PROBLEMS]
    ]
    return listed(shown, len(told))


def _at(content: Any, loc: Loc) -> Any:
    for part in loc:
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _place(error: dict[str, Any], model: type[BaseModel], content: Any) -> Loc:
    """Return where an error stands, without the kinds of a value that may be of several: they look like keys below."""
    loc: Loc = error["loc"]
    kept: list[int | str] = []
    for number, part in enumerate(loc):
        inside = part in content if isinstance(content, dict) else False
        fields = (field for m in _models_at(model, loc[:number]) for field in m.model_fields.items())
        if isinstance(part, int) or inside or any(part in (name, field.alias) for name, field in fields):
            within = isinstance(content, list) and isinstance(part, int) and part < len(content)
            content = content[part] if inside or within else None
            kept.append(part)
    return tuple(kept)


def _follows(error: dict[str, Any]) -> bool:
    """Tell whether a list is called too short only because what it holds was refused, which is said already."""
    return error["type"] == "too_short" and bool(len(error["input"]) >= error["ctx"]["min_length"])


def _problem(error: dict[str, Any], model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        *above, name = map(str, error["loc"])
        known, (key, colon, rest) = _fields_at(model, above, name), name.partition(":")
        if colon and key in known:
            return printable(f"a space is missing: write `{key}: {rest}`")
        return "unknown key" + did_you_mean(name, known)
    if error["type"] == "missing":
        return "is required"
    value = error.get("input") if error["type"] != "secret" else None
    got = f" (got {value!r})" if isinstance(value, int | float | str | bool) and len(str(value)) < 60 else ""
    message = _message(error, model, value)
    names = re.findall("'([^']+)'", message) if error["type"] == "literal_error" else []
    meant = nearest(str(value), names)
    if meant and len(names) > MAX_NAMED:
        message = "unknown"
    return printable(message[0].lower() + message[1:]) + got + (f"; did you mean `{meant}`?" if meant else "")


def _message(error: dict[str, Any], model: type[BaseModel], value: object) -> str:
    if error["type"] == "model_type" and (keys := _required_at(model, error["loc"])):
        return f"input should be a mapping, as in `{{{': …, '.join(keys)}: …}}`"
    if error["type"] == "string_type" and isinstance(value, int | float):  # as YAML reads yes, no and 12
        return "input should be a text: put it in quotes"
    return str(_SHAPES.get(error["type"], error["msg"])).replace(" after validation", "")


def _models_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """Return the models that may stand at a place."""
    models = [model]
    for part in loc:
        found = [m.model_fields[part] for m in models if isinstance(part, str) and part in m.model_fields]
        models = [inner for info in found for inner in _models_in(info.annotation)] or models
    return models


def _required_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """Return the keys that a value at a place must have; none where it may be of several kinds."""
    models = _models_at(model, loc)
    return [name for name, field in models[0].model_fields.items() if field.is_required()] if len(models) == 1 else []


def _fields_at(model: type[BaseModel], loc: Sequence[int | str], name: str) -> set[str]:
    """Return the names of the fields at a place, or `group.name` where a group of parameters there has that name."""
    models = _models_at(model, loc)
    fields = {field: info.annotation for m in models for field, info in m.model_fields.items()}
    grouped = {f"{group}.{name}" for group, kind in fields.items() for m in _models_in(kind) if name in m.model_fields}
    return grouped or set(fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, also those in its lists and unions."""
    from pydantic import BaseModel  # a command line shows text without it

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the closest known name, or the known names when none is close."""
    names = sorted(known)
    near = nearest(name, names)
    if near is not None:
        return f"; did you mean `{near}`?"
    return f"; known: {', '.join(names)}" if names else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that somebody meant: the same in another case or group, or nearly the same."""
    names = sorted(known)
    same = [n for n in names if n.casefold() == name.casefold() or n.endswith(f".{name}")]
    return next(iter(same or difflib.get_close_matches(name, names, n=1)), None)
