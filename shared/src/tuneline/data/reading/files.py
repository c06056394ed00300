"""Finds the files of a transcripts folder and opens them, whatever they are: JSON, tables, compressed or not.

What a file is follows from its first bytes; its name decides only whether it is one of the input's files at all.
"""

from __future__ import annotations

import gzip
import io
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import structlog

from tuneline.data.reading.logs.sessions import sessions
from tuneline.data.reading.messages.content import EMPTY
from tuneline.data.reading.records import GROWN, MAX_GROWTH, MAX_RECORD_BYTES, Record, begin_of, cut_records
from tuneline.data.reading.rows import grouped
from tuneline.data.reading.speakers import Speakers
from tuneline.data.reading.tables import PARQUET, read_csv, read_parquet
from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline.parsing.text import ONLY_A_POINTER, POINTER

TEXTS = ("json", "jsonl", "ndjson", "csv", "tsv")
PACKED = ("", ".gz", ".zst")
SUFFIXES = (*(f".{kind}{packed}" for kind in TEXTS for packed in PACKED), ".parquet")
PATTERNS = tuple(f"*{suffix}" for suffix in SUFFIXES)
"""The files of a folder that are transcripts, in small or capital letters; no other one is hashed, sent or read."""

ACCOUNT = frozenset(
    f"{name}.json"
    for name in (
        "user", "users", "account", "user_settings", "message_feedback", "model_comparisons", "shared_conversations",
        "conversation_asset_file_names", "library_files", "export_manifest", "ads", "shopping", "sora", "projects",
        "memories",
    )
)  # fmt: skip
"""What stands beside `conversations.json` in the exports of ChatGPT and Claude, and holds no conversation."""

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF_16 = (BOM_UTF16_LE, BOM_UTF16_BE)
JSON = (b"{", b"[", b"")
"""How a file of JSON begins, or an empty one."""
HEAD = 2**20
NOBODY = Speakers(())
OTHERS = {
    b"PK\x03\x04": "a ZIP archive or an Office file: unpack it and give the folder, or save the table as CSV",
    b"SQLite format 3": "a database: export the table of messages as CSV",
    b"%PDF": "a PDF; transcripts are JSON, CSV or Parquet",
    b"<": "HTML or XML; export the conversations as JSON or CSV",
}
"""How files of other kinds begin, and the way out."""
PLAIN = "neither JSON nor a table: write one conversation per line as JSON, or a message per row as CSV"
MAX_NAMED = 5

log = structlog.get_logger()


def read_records(root: Path, speakers: Speakers = NOBODY) -> Iterator[Record]:
    """Yield the records of a file, or of all files with transcripts below a folder in order of their names.

    Other files, and those whose names begin with a dot, are left out, which is logged. `speakers` say who answers where
    only names are there. Raises UserError if there is no such file.
    """
    if root.is_file():
        yield from _read_file(root, printable(root.name), speakers)
    elif root.is_dir():
        passed_over: list[str] = []
        yield from _read_folder(root, "", [root.resolve()], passed_over, speakers)
        if passed_over:
            log.warning("files ignored because of their names", count=len(passed_over), names=passed_over[:MAX_NAMED])
    else:
        raise UserError(f"{root.name}: neither a file nor a folder")


def _read_folder(
    folder: Path, prefix: str, above: list[Path], passed_over: list[str], speakers: Speakers
) -> Iterator[Record]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        yield Record(prefix, 1, problem=f"cannot be read: {error.strerror}")
        return
    is_account = any(path.name.startswith("conversations") and path.suffix == ".json" for path in paths)
    for path in paths:
        name = f"{prefix}{printable(path.name)}"
        if path.name.startswith(".") or (is_account and path.name in ACCOUNT):
            passed_over.append(name)
            continue
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
            resolved = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: how pathlib reports a link that leads to itself
            yield Record(name, 1, problem="a link that leads nowhere, or back to itself")
            continue
        if is_folder and resolved in above:
            yield Record(name, 1, problem="a link to a folder that contains it")
        elif is_folder:
            yield from _read_folder(path, f"{name}/", [*above, resolved], passed_over, speakers)
        elif path.name.lower().endswith(SUFFIXES):
            yield from _read_file(path, name, speakers) if is_file else [Record(name, 1, problem="not a regular file")]
        else:
            passed_over.append(name)


def _read_file(path: Path, name: str, speakers: Speakers) -> Iterator[Record]:
    line = 0
    try:
        for record in grouped(speakers.named(sessions(_open(path, name)))):
            line = max(line, record.line)
            yield record
        if not line:
            yield Record(name, 1, problem="an empty file", kind=EMPTY if path.stat().st_size else "unreadable")
    except _Grown:
        yield Record(name, line + 1, problem=GROWN)
    except EOFError:
        yield Record(name, line + 1, problem="the compressed file is cut off")
    except (gzip.BadGzipFile, zlib.error):
        yield Record(name, line + 1, problem="the compressed file is damaged")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}" if error.errno else "the compressed file is damaged"
        yield Record(name, line + 1, problem=problem)


def _open(path: Path, name: str) -> Iterator[Record]:
    most = max(MAX_RECORD_BYTES, MAX_GROWTH * path.stat().st_size)
    with path.open("rb") as raw, _unpacked(raw, most) as text:
        head = text.peek(HEAD)[:HEAD]
        if head.startswith(POINTER):
            yield Record(name, 1, problem=ONLY_A_POINTER)
        elif head.startswith(PARQUET):
            yield from read_parquet(path, name, most)
        elif what := _other_kind(head, name):
            yield Record(name, 1, problem=what)
        elif _is_table(head, name):
            yield from read_csv(text, head, name)
        else:
            yield from cut_records(text, head, name)


def _other_kind(head: bytes, name: str) -> str | None:
    """Say what a file is that holds neither JSON nor a table, and what to do with it; None for what may hold either."""
    if head.startswith(UTF_16):
        return "UTF-16 text; save it as UTF-8 (in Excel: CSV UTF-8)"
    text = begin_of(head)
    known = next((what for magic, what in OTHERS.items() if text.startswith(magic)), None)
    return known or (None if text[:1] in JSON or name.lower().endswith(SUFFIXES) else PLAIN)


def _is_table(head: bytes, name: str) -> bool:
    is_json = begin_of(head)[:1] in JSON
    return not is_json and name.lower().removesuffix(".gz").removesuffix(".zst").endswith((".csv", ".tsv"))


def _unpacked(raw: BinaryIO, most: int) -> io.BufferedReader:
    """Return the text of a file, unpacked if its first bytes say that it is packed."""
    magic = raw.read(4)
    raw.seek(0)
    source = raw
    if magic.startswith(GZIP):
        source = cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    elif magic.startswith(ZSTD):
        import pyarrow as pa

        source = cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    return io.BufferedReader(_Counted(source, most), HEAD)


class _Grown(Exception):  # noqa: N818
    """A file unpacks to more than any text does."""


class _Counted(io.RawIOBase):
    """Reads from a source up to a number of bytes."""

    def __init__(self, source: BinaryIO, most: int) -> None:
        self._source, self._left = source, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise _Grown
        buffer[: len(data)] = data
        return len(data)
