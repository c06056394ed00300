"""YAML that people write, and YAML that was made to break who reads it."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from tuneline.errors import UserError
from tuneline.parsing.yaml import read_yaml


def read(tmp_path: Path, data: bytes) -> object:
    (tmp_path / "a.yaml").write_bytes(data)
    return read_yaml(tmp_path / "a.yaml").content


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, data)
    return str(error.value).removeprefix(f"{tmp_path}/")


def test_what_people_write_is_read_as_before(tmp_path: Path) -> None:
    text = (
        b"base: &b {a: 1, yes: no}\nmore: {<<: *b, a: 2}\nday: 2026-11-25\nno day: 2026-99-99\n"
        b"list: [1.5, ~, 'x', 0x1f]\nbig: " + b"9" * 90
    )
    assert read(tmp_path, text) == {
        "base": {"a": 1, "yes": False}, "more": {"a": 2, "yes": False}, "day": "2026-11-25", "no day": "2026-99-99",
        "list": [1.5, None, "x", 31], "big": int("9" * 90),
    }  # fmt: skip
    assert read(tmp_path, b"") is None


ODD = "no number or word of YAML; put it in quotes"
INDENT = "this line or the one before begins with a tab or a no-break space: indent with plain spaces"
WRONG = {
    "int": (b"a: 1\nb: !!int x", f"2: {ODD}"),
    "empty int": (b"b: !!int", f"1: {ODD}"),
    "float": (b"b: !!float x", f"1: {ODD}"),
    "bool": (b"b: !!bool x", f"1: {ODD}"),
    "digits": (b"b: " + b"9" * 100_000, f"1: {ODD}"),
    "hexadecimal digits": (b"b: 0x" + b"f" * 100_000, f"1: {ODD}"),
    "base 60": (b"b: 1" + b":59" * 100_000, f"1: {ODD}"),
    "binary": (b"b: !!binary =", "1: the tag tag:yaml.org,2002:binary has no meaning here"),
    "set": (b"b: !!set {a, b}", "1: the tag tag:yaml.org,2002:set has no meaning here"),
    "code": (
        b"b: !!python/object/apply:os.system [x]",
        "1: the tag tag:yaml.org,2002:python/object/apply:os.s",
    ),
    "own tag": (b"b: !\xe2\x80\xaex y", "1: not valid YAML: did not find expected whitespace"),
    "scalar map": (b"b: !!map x", "1: not valid YAML: expected a mapping node, but found scalar"),
    "key list": (b"a: 1\n? [a]\n: 1", "2: a key must be text"),
    "key map": (b"{{a: 1}: 1}", "1: a key must be text"),
    "twice": (b"a: 1\nb:\n  c: 1\n  c: 2", "4: b.c: given twice"),
    "in itself": (b"a: &a [*a]", "1: nested more than 50 deep"),
    "merged into itself": (b"a: &a {<<: *a}", "1: nested more than 50 deep"),
    "merged text": (b"a: {<<: x}", "1: not valid YAML: expected a mapping or list of mappings for merging"),
    "deep": (b"[" * 100_000, "1: nested more than 50 deep"),
    "deep blocks": (b"- " * 100_000 + b"x", "1: nested more than 50 deep"),
    "no anchor": (b"a: 1\nb: *x", "2: not valid YAML: found undefined alias; a text that holds"),
    "control": (b"a: 1\nb: \x1b", "2: not valid YAML: it holds a character that YAML forbids"),
    "NUL": (b"a: 1\nb: \0", "2: not valid YAML: it holds a character that YAML forbids"),
    "not UTF-8": (b"a: 1\nb: \xff", "2: not UTF-8 text (byte 0xff); save it as UTF-8"),
    "not UTF-8 behind a mark": (b"\xef\xbb\xbfa: 1\nb: \xe9t", "2: not UTF-8 text (byte 0xe9); save it as UTF-8"),
    "two documents": (b"a: 1\n---\nb: 1", "2: not valid YAML: but found another document; it begins at `---`, and "),
    "JSON Lines": (
        b'{"a": 1}\n{"a": 2}',
        "2: not valid YAML: did not find expected <document start>; a file is one mapping",
    ),
    "tab": (b"a:\n\tb: 1", f"2: not valid YAML: found character that cannot start any token; {INDENT}"),
    "tab later": (
        b"a:\n  b: 1\n\tc: 2",
        f"3: not valid YAML: found a tab character that violates indentation; {INDENT}",
    ),
    "no-break space": (
        b"a:\n\xc2\xa0\xc2\xa0b: 1\n  c: 2",
        f"3: not valid YAML: mapping values are not allowed in this context; {INDENT}",
    ),
    "colon in a text": (
        b"a: b: c",
        "1: not valid YAML: mapping values are not allowed in this context; a text with `: ` in it takes quotes",
    ),
    "at sign": (b"a: @x", "1: not valid YAML: found character that cannot start any token; a text that"),
    "star": (b"a: *.json", "1: not valid YAML: did not find expected alphabetic or numeric character; a text that"),
    "template": (b"a: {{x}}", "1: a key must be text; a text that"),
    "columns": (b"i:\n  a: 1\n b: 2", "3: not valid YAML: did not find expected key; keys of one mapping begin in one"),
    "open brace": (
        b"a: 1\nb: {c: 1\nd: 2",
        "3: not valid YAML: did not find expected ',' or '}'; a comma is missing, or the bracket "
        "is not closed that opens in line 2",
    ),
    "open quote": (
        b"a: 1\nb: 'x\nc: 1\n",
        "4: not valid YAML: found unexpected end of stream; the quote is not closed that opens in line 2",
    ),
    "path of Windows": (
        b'a: "C:\\models"',
        "1: not valid YAML: found unknown escape character; in single quotes a backslash is a backslash",
    ),
}


@pytest.mark.parametrize(("data", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path: Path, data: bytes, expected: str) -> None:
    assert refused(tmp_path, data).startswith(f"a.yaml:{expected}")


LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 10)) for n in b"bcdefghi"
)
MERGES = b"a: &a {x: 1}\n" + b"".join(
    b"%c: &%c {<<: [%s]}\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 10)) for n in b"bcdefghi"
)


@pytest.mark.parametrize(
    "data",
    [
        LAUGHS,
        MERGES,
        b"a: &a " + b"x" * 2**20 + b"\nb: [" + b"*a," * 40_000 + b"]",
        b"[" + b"1," * 500_000 + b"]",
        b"{" + b"".join(b"k%d: 1," % n for n in range(100_000)) + b"}",
        b"a: '" + b"x" * 2**21 + b"'\nb: [",
        b"x" * (2**24 + 1),
    ],
    ids=["laughs", "merges", "a long text", "a list", "keys", "torn", "long"],
)
def test_a_file_that_grows_costs_bounded_time_and_memory(tmp_path: Path, data: bytes) -> None:
    began = time.process_time()
    refused(tmp_path, data)
    assert time.process_time() - began < 5 + 10 * len(data) / 1e6
    tracemalloc.start()
    refused(tmp_path, data)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 2**26 + 20 * len(data)
