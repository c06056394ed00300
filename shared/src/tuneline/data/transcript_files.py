"""Finds the files of a transcripts folder and cuts them into records, without looking into the records."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import structlog

from tuneline.errors import UserError
from tuneline.parsing.problems import printable

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""A longer record is refused unread: the largest conversations people have are a hundred times shorter."""
MAX_GROWTH = 100
"""Text shrinks to a tenth or so when it is compressed."""

DOCUMENTS = (".json", ".json.gz")
LINES = (".jsonl", ".jsonl.gz")
PATTERNS = tuple(f"*{suffix}" for suffix in (*DOCUMENTS, *LINES))
"""The files of a folder that are transcripts; no other one is hashed, sent or read."""

MAX_NAMED = 5

log = structlog.get_logger()


class RawRecord(NamedTuple):
    """One JSON text: a whole file, or line `line` of one. With `problem` there is nothing to parse.

    `path`, fit to be shown, is relative to the input, with `/` between folders; `is_line`: a line, not a whole file.
    """

    path: str
    line: int
    data: bytes = b""
    is_line: bool = False
    problem: str | None = None


def read_records(root: Path) -> Iterator[RawRecord]:
    """Yield the records of a file, or of all `.json` and `.jsonl` files below a folder in order of their names.

    Names that begin with a dot are left out, and other files too, which is logged; gzip is recognised by content,
    whatever the name says.
    Raises UserError if there is no such file.
    """
    if root.is_file():
        yield from _read_file(root, printable(root.name))
    elif root.is_dir():
        passed_over: list[str] = []
        yield from _read_folder(root, "", [root.resolve()], passed_over)
        if passed_over:
            log.warning("files ignored because of their names", count=len(passed_over), names=passed_over[:MAX_NAMED])
    else:
        raise UserError(f"{root.name}: neither a file nor a folder")


def _read_folder(folder: Path, prefix: str, above: list[Path], passed_over: list[str]) -> Iterator[RawRecord]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        yield RawRecord(prefix, 1, problem=f"cannot be read: {error.strerror}")
        return
    for path in paths:
        name = f"{prefix}{printable(path.name)}"
        if path.name.startswith("."):
            continue
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
            resolved = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how pathlib reports a link that leads to itself
            yield RawRecord(name, 1, problem="a link that leads nowhere, or back to itself")
            continue
        if is_folder and resolved in above:
            yield RawRecord(name, 1, problem="a link to a folder that contains it")
        elif is_folder:
            yield from _read_folder(path, f"{name}/", [*above, resolved], passed_over)
        elif path.name.endswith((*DOCUMENTS, *LINES)):
            yield from _read_file(path, name) if is_file else [RawRecord(name, 1, problem="not a regular file")]
        else:
            passed_over.append(name)


def _read_file(path: Path, name: str) -> Iterator[RawRecord]:
    cut = _read_document if name.endswith(DOCUMENTS) else _read_lines
    line = 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            for record in cut(stream, name):
                line = record.line
                if stream.tell() > max(MAX_RECORD_BYTES, MAX_GROWTH * path.stat().st_size):
                    problem = f"more than {MAX_GROWTH} times as large as its file; was it made to fill the memory?"
                    yield RawRecord(name, line, problem=problem)
                    return
                yield record
    except EOFError:
        yield RawRecord(name, line + 1, problem="the compressed file is cut off")
    except (gzip.BadGzipFile, zlib.error):
        yield RawRecord(name, line + 1, problem="the compressed file is damaged")
    except OSError as error:
        yield RawRecord(name, line + 1, problem=f"cannot be read: {error.strerror}")
    if line == 0:
        yield RawRecord(name, 1, problem="an empty file")


def _read_document(stream: BinaryIO, name: str) -> Iterator[RawRecord]:
    data = stream.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        yield RawRecord(name, 1, problem=f"longer than {MAX_RECORD_BYTES // 2**20} MiB")
    elif data.strip():
        yield RawRecord(name, 1, data)


def _read_lines(stream: BinaryIO, name: str) -> Iterator[RawRecord]:
    line = 0
    while data := stream.readline(MAX_RECORD_BYTES + 1):
        line += 1
        if len(data) > MAX_RECORD_BYTES:
            yield RawRecord(name, line, problem=f"longer than {MAX_RECORD_BYTES // 2**20} MiB")
            while data and not data.endswith(b"\n"):
                data = stream.readline(2**20)
        elif data.strip() in (b"[", b"{"):
            problem = "one value over several lines; a .jsonl file has one whole object per line"
            yield RawRecord(name, line, problem=problem)
            return
        elif data.startswith((b"\xff\xfe", b"\xfe\xff")):  # its line ends are cut in two
            yield RawRecord(name, line, data, is_line=True)
            return
        elif data.strip():
            yield RawRecord(name, line, data.rstrip(b"\r\n"), is_line=True)
