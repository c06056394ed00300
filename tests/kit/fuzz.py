"""Tries a reader with bytes that nobody meant: it succeeds, or says where the fault is, in bounded time and memory.

To add a reader, put a line into a list of `Reader`s and hand each to `fuzz`. TUNELINE_FUZZ=500 tries that many random
examples of each kind (a night's work); without it a few, always the same, are tried.
"""

from __future__ import annotations

import os
import re
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.errors import Temporary, UserError

EXAMPLES = int(os.environ.get("TUNELINE_FUZZ", "0"))
GROWN = 40_000 if not EXAMPLES else 1_000_000
"""Bytes of a file that repeats one piece."""
SECONDS_PER_MB, SECONDS = 10, 5
MEMORY_PER_BYTE, MEMORY = 20, 2**26
"""What a file may cost, and what reading any file may."""

_BEFORE_VALUE = re.compile(rb"[:\[{,-] ?|^", re.MULTILINE)
_VALUE = re.compile(rb"[^,\]}\n]*")

PIECES = [
    *(bytes([byte]) for byte in b'\0\t\n\r\x1b "#%&*-:<>?[]\\`{|}~\x7f\x80\x85\x9b\xff'),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\\ud800", b"\\u0000"),
    *(b"\x1f\x8b", b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"9" * 5000, b"0x" + b"f" * 5000, b".inf"),
    *(b"1:" * 300 + b"1", b"[]", b"{}", b"[1,", b'{"a":', b'"a":1,', b'""', b"- ", b"? ", b": ", b"\n- ", b"a: "),
    *(b"k: &a [*a]\n", b"&a ", b"*a", b"<<: *a\n", b"<<: [*a, *a]\n", b"? [a]\n", b"{[a]: 1}", b"2026-11-25", b"="),
    *(b"!!int x", b"!!float x", b"!!bool x", b"!!timestamp x", b"!!binary =", b"!!set {a}", b"!!map x", b"!!int"),
    *(b"2026-99-99", b"0001-01-01T00:00:00+23:59", b"!!python/object:os.system x", b"!x ", b"!<", b"%YAML 9.9\n"),
    *(b"---\n", b"...\n", b"x\nlevel=error event=forged", b'"x\\nlevel=error \\u001b\\ud800"', b"{{ x }}"),
]


class Reader(NamedTuple):
    """Something that reads a file: its name, that of the file, what reads it, and a file that it takes."""

    name: str
    file: str
    read: Callable[[Path], object]
    valid: bytes


class Grown(NamedTuple):
    """A file with a piece repeated in its middle: short to show, however long it is."""

    before: bytes
    piece: bytes
    after: bytes

    def data(self) -> bytes:
        return self.before + self.piece * (GROWN // len(self.piece)) + self.after


def fuzz(reader: Reader) -> None:
    """Try `reader` with any bytes, with changed files and with files that repeat one piece.

    Fails unless it succeeds or raises UserError, with the file's name in one-line problems, or Temporary; and when it
    takes more than 10 s per MB or 20 times the file in memory.
    """
    check(reader, reader.valid, valid=True)
    _try(reader, st.binary(max_size=200), 30)
    _try(reader, _changed(reader.valid), 60)
    _try(reader, _grown(reader.valid), 10, measure=True)


def check(reader: Reader, data: bytes, *, measure: bool = False, valid: bool = False) -> None:
    """Read `data` once, and with `measure` once more for its memory: tracing it takes several times as long."""
    seconds, _ = _read(reader, data, valid=valid)
    assert seconds < SECONDS + SECONDS_PER_MB * len(data) / 1e6, f"{len(data)} bytes took {seconds:.1f} s"
    if measure:
        tracemalloc.start()
        try:
            _, memory = _read(reader, data, valid=valid)
        finally:
            tracemalloc.stop()
        assert memory < MEMORY + MEMORY_PER_BYTE * len(data), f"{len(data)} bytes took {memory} bytes of memory"


def _read(reader: Reader, data: bytes, *, valid: bool) -> tuple[float, int]:
    """Read it in a folder of its own; return the processor's seconds, and the most bytes held if they are traced."""
    with TemporaryDirectory() as folder:
        path = Path(folder, reader.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        began = time.process_time()
        try:
            reader.read(path)
        except UserError as error:
            assert not valid, error
            _check_message(str(error), path)
        except Temporary:
            assert not valid
        return time.process_time() - began, tracemalloc.get_traced_memory()[1]


def _check_message(message: str, path: Path) -> None:
    assert path.name in message, message
    assert all(line.isprintable() for line in message.split("\n")), repr(message)
    assert not any(line.startswith("level=error") for line in message.split("\n")), message
    assert len(message) < 100_000


def _try(
    reader: Reader, files: st.SearchStrategy[bytes] | st.SearchStrategy[Grown], few: int, *, measure: bool = False
) -> None:
    @settings(
        max_examples=EXAMPLES or few, derandomize=not EXAMPLES, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(files)
    def each(file: bytes | Grown) -> None:
        check(reader, file if isinstance(file, bytes) else file.data(), measure=measure)

    each()


@st.composite
def _changed(draw: st.DrawFn, valid: bytes) -> bytes:
    """Replace a few stretches of a valid file."""
    data = valid
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.sampled_from([0, *(found.end() for found in _BEFORE_VALUE.finditer(data)), len(data)]))
        value = _VALUE.match(data, start)
        end = draw(st.sampled_from([start, value.end() if value else start, start + draw(st.integers(0, 50))]))
        data = data[:start] + draw(_piece(valid)) + data[end:]
    return data


@st.composite
def _grown(draw: st.DrawFn, valid: bytes) -> Grown:
    """Repeat a piece many times, alone or somewhere in a valid file."""
    start = draw(st.integers(0, len(valid)))
    before, after = draw(st.sampled_from([(b"", b""), (valid[:start], valid[start:]), (valid[:start], b"")]))
    return Grown(before, draw(_piece(valid)) or b" ", after)


def _piece(valid: bytes) -> st.SearchStrategy[bytes]:
    """Return a short text that has a meaning to some parser, a line of the file, or a few bytes."""
    return st.one_of(st.sampled_from(PIECES), st.sampled_from(valid.splitlines(keepends=True)), st.binary(max_size=4))
