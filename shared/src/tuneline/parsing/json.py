"""JSON as the standard has it, and the line of every value, so that a problem can be found in a file of any layout.

Python's parser lets NaN, infinite numbers and repeated keys pass; here they are refused. The lines are looked for only
once there is something to complain about: parsing good data costs what `json.loads` costs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple, NoReturn

from tuneline.errors import BadJson
from tuneline.parsing.problems import Loc


def parse_json(data: bytes) -> object:
    """Parse UTF-8 `data` that holds one value. Raises BadJson."""
    text = _decode(data)
    try:
        value: object = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {_explain(error)}", error.lineno) from None
    except _Refused as refused:
        raise BadJson(refused.problem, _line_of_refused(text)) from None
    except RecursionError:
        raise BadJson("nested too deeply", 1) from None
    except ValueError:  # the one that is left: Python limits the digits of a whole number
        raise BadJson("a number has too many digits", 1) from None
    return value


def lines_of(data: bytes, locs: Iterable[Loc]) -> Iterator[int]:
    """Yield the line, from 1, of each value named, or of its nearest ancestor, in data that `parse_json` accepts."""
    text = data.decode("utf-8-sig")
    positions = {value.loc: value.position for value in _values(text)}
    for loc in locs:
        nearest = next((loc[:length] for length in range(len(loc), 0, -1) if loc[:length] in positions), ())
        yield text.count("\n", 0, positions[nearest]) + 1


class _Value(NamedTuple):
    loc: Loc
    position: int
    repeated: bool


class _Refused(Exception):  # noqa: N818
    def __init__(self, problem: str):
        self.problem = problem


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadJson("UTF-16 text; save it as UTF-8", 1)
    if (nul := data.find(b"\0")) >= 0:
        raise BadJson("a NUL byte, as in UTF-16 or binary data; save it as UTF-8", data.count(b"\n", 0, nul) + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadJson(f"not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8", line) from None


def _explain(error: json.JSONDecodeError) -> str:
    if error.msg == "Extra data":
        return "more than one value; with one transcript per line, the file's name must end in .jsonl"
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        return "it ends too early; is the file cut off?"
    return f"{error.msg.removesuffix(' at').removesuffix(': ')} at column {error.colno}"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Refused("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a number in JSON")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused("a number is too large")
    return value


def _line_of_refused(text: str) -> int:
    """Return the line of the first value that JSON's grammar allows and we do not."""
    for value in _values(text):
        number = _NUMBER.match(text, value.position)
        if value.repeated or (number and not math.isfinite(float(number[0]))):
            return text.count("\n", 0, value.position) + 1
    return 1


_NUMBER = re.compile(r"-?(?:Infinity|NaN|[0-9][0-9.eE+-]*)")
_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SCALAR = re.compile(r"[^ \t\n\r,\]}]+")


def _values(text: str) -> Iterator[_Value]:
    """Yield every value of a text that the parser has read to its end, in order of position."""
    try:
        yield from _walk(text, _skip(text, 0), (), False)
    except RecursionError:  # our stack is used up sooner than the parser's; what was found so far will do
        return


def _walk(text: str, start: int, loc: Loc, repeated: bool) -> Generator[_Value, None, int]:
    """Yield the value at `start` and the values in it; return the position behind it."""
    yield _Value(loc, start, repeated)
    if text[start] == "{":
        return (yield from _members(text, start, loc))
    if text[start] == "[":
        return (yield from _elements(text, start, loc))
    return _match(_STRING if text[start] == '"' else _SCALAR, text, start).end()


def _members(text: str, start: int, loc: Loc) -> Generator[_Value, None, int]:
    seen: set[str] = set()
    at = _skip(text, start + 1)
    while text[at] != "}":
        key = _match(_STRING, text, at)
        name = json.loads(key[0])
        end = yield from _walk(text, _skip(text, _skip(text, key.end()) + 1), (*loc, name), name in seen)
        seen.add(name)
        at = _next(text, end)
    return at + 1


def _elements(text: str, start: int, loc: Loc) -> Generator[_Value, None, int]:
    index, at = 0, _skip(text, start + 1)
    while text[at] != "]":
        end = yield from _walk(text, at, (*loc, index), False)
        index, at = index + 1, _next(text, end)
    return at + 1


def _next(text: str, end: int) -> int:
    """Return where the next member, or the closing bracket, begins behind a value that ends at `end`."""
    at = _skip(text, end)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    return _match(_SPACE, text, at).end()


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    assert found  # the parser has read this text before
    return found
