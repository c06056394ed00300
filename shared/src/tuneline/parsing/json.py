"""JSON as the standard has it, and the line of every value, so that a problem can be found in a file of any layout.

Python's parser lets NaN, infinite numbers and repeated keys pass; here they are refused. The lines are looked for only
once there is something to complain about: parsing good data costs what `json.loads` costs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from tuneline.errors import BadJson
from tuneline.parsing.problems import Loc, line_of, not_utf8
from tuneline.parsing.text import no_text


def parse_json(data: bytes) -> object:
    """Parse UTF-8 `data` that holds one value. Raises BadJson."""
    text = _decode(data)
    try:
        value: object = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {_explain(error)}", error.lineno) from None
    except RecursionError:
        raise BadJson("nested too deeply", 1) from None
    except ValueError as error:  # ours, or the one that is left: Python limits the digits of a whole number
        problem = str(error) if isinstance(error, _Refused) else "a number has too many digits"
        raise BadJson(problem, _line_of_refused(text)) from None
    return value


def is_json(data: bytes) -> bool:
    """Tell whether `data` holds one value, whole."""
    try:
        parse_json(data)
    except BadJson:
        return False
    return True


def lines_of(data: bytes, locs: Sequence[Loc]) -> list[int]:
    """Return the line, from 1, of each value named, or of its nearest ancestor, in data that `parse_json` accepts."""
    text = data.decode("utf-8-sig")
    ways = [[loc[:length] for length in range(len(loc), -1, -1)] for loc in locs]
    wanted = {step for way in ways for step in way}
    lines, line, last = {}, 1, 0
    for value in _values(text, max(map(len, wanted), default=0)):
        if value.loc in wanted:
            line, last = line + text.count("\n", last, value.position), value.position
            lines[value.loc] = line
    return [next(lines[step] for step in way if step in lines) for way in ways]


class _Value(NamedTuple):
    loc: Loc
    position: int
    repeated: bool


class _Refused(ValueError):  # noqa: N818
    pass


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadJson("UTF-16 text; save it as UTF-8", 1)
    if other := no_text(data):
        raise BadJson(other, 1)
    if (nul := data.find(b"\0")) >= 0:
        raise BadJson("a NUL byte, as in UTF-16 or binary data; save it as UTF-8", data.count(b"\n", 0, nul) + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadJson(not_utf8(error), line_of(error)) from None


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
    for value in _values(text, 0):
        number = _NUMBER.match(text, value.position)
        if value.repeated or (number and not math.isfinite(float(number[0]))):
            return text.count("\n", 0, value.position) + 1
    return 1


_NUMBER = re.compile(r"-?(?:Infinity|NaN|[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)")
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:]|[^ \t\n\r,:\]}]++')


def _values(text: str, depth: int) -> Iterator[_Value]:
    """Yield the values of a text in order of position, as far as the parser has read it.

    Of a `loc` with more than `depth` steps only one step more is kept: copying all would take long.
    """
    path: list[int | str] = []  # the steps to the value that comes next
    keys: list[set[str] | None] = []  # those seen in each object that is open; None for a list
    at_key = repeated = False
    for token in _TOKEN.finditer(text):
        mark, inner = token[0], keys[-1] if keys else None
        if mark in ("]", "}"):
            path.pop()
            keys.pop()
            at_key = False
        elif mark == "," and inner is None:
            path[-1] = int(path[-1]) + 1
        elif mark in (",", ":"):
            at_key = mark == ","
        elif at_key and inner is not None:
            name: str = json.loads(mark)
            path[-1], repeated = name, name in inner
            inner.add(name)
        else:
            yield _Value(tuple(path[: depth + 1]), token.start(), repeated)
            repeated, at_key = False, mark == "{"
            if mark in ("{", "["):
                path.append(0)
                keys.append(set() if at_key else None)
