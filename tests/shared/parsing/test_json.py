"""The line of every value in a JSON text of any layout."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneline.errors import BadJson
from tuneline.parsing.json import lines_of, parse_json
from tuneline.parsing.problems import Loc

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def written(value: Any, loc: Loc, lines: dict[Loc, int], line: int) -> tuple[str, int]:
    """Write a value with line ends everywhere; note the line of each value, return the text and its last line."""
    lines[loc] = line
    if not isinstance(value, dict | list):
        return json.dumps(value), line
    parts: list[str] = []
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        head = f"\n{json.dumps(step)}\n:\n" if isinstance(value, dict) else "\n"
        text, line = written(inner, (*loc, step), lines, line + head.count("\n"))
        parts.append(head + text)
    opens, closes = "{}" if isinstance(value, dict) else "[]"
    return opens + ",".join(parts) + closes, line


@given(VALUES)
def test_every_value_has_its_line(value: object) -> None:
    lines: dict[Loc, int] = {}
    text, _ = written(value, (), lines, 1)
    assert parse_json(text.encode()) == value
    assert lines_of(text.encode(), list(lines)) == list(lines.values())


def test_a_value_that_is_missing_has_the_line_of_what_should_hold_it() -> None:
    data = b'{"a":\n[1,\n{"b": 2}]}'
    assert lines_of(data, [("a", 1, "c"), ("a", 7), ("x", "y"), ("a", 1, "b", 0)]) == [3, 2, 1, 3]
    assert lines_of(data, []) == []


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'[1,\n{"a": NaN}]', 2, "NaN is not a number in JSON"),
        (b"[1,\n\n-1e999]", 3, "a number is too large"),
        (b'["NaN",\n1e5,' + b"9" * 5000 + b"]", 2, "a number has too many digits"),
        (b'{"a": {"b": 1},\n"c": {"b": 1,\n"b": 2}}', 3, "a key stands twice in one object"),
        (b'{"a": "\\"b\\": NaN",\n"\\u0061": 1}', 2, "a key stands twice in one object"),
        (b"\n1e4001e4001e400", 2, "a number is too large"),
        (b'\n["a]', 2, "not JSON: it ends too early; is the file cut off?"),
    ],
)
def test_what_json_has_no_form_for_is_refused_with_its_line(data: bytes, line: int, problem: str) -> None:
    with pytest.raises(BadJson) as refused:
        parse_json(data)
    assert (refused.value.line, refused.value.problem) == (line, problem)
