"""Tables of transcripts, row by row: CSV with any usual separator, and Parquet."""

from __future__ import annotations

import csv
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from tuneline.data.reading.messages.content import EMPTY, key_of
from tuneline.data.reading.records import GROWN, MAX_RECORD_BYTES, Record
from tuneline.parsing.problems import not_utf8

PARQUET = b"PAR1"
SEPARATORS = ",;\t|"
NO_ROWS = "a table without rows"
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*$')
_QUOTED = re.compile(r'"[^"]*"')
ROWS_AT_ONCE = 64
MAX_DEPTH = 20


def read_csv(stream: BinaryIO, head: bytes, path: str) -> Iterator[Record]:
    """Yield each row of a CSV file as an object of its columns' names, which the first line gives."""
    text = TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    csv.field_size_limit(MAX_RECORD_BYTES)
    line = 1
    try:
        first = head.removeprefix(BOM_UTF8).partition(b"\n")[0].decode("utf-8", errors="replace")
        if named := _SEPARATOR.match(first):  # Excel's own line before the table
            text.readline()
        bare = named[1] if named else _QUOTED.sub("", first)
        reader = csv.reader(text, delimiter=max(SEPARATORS, key=bare.count), strict=True)
        columns = [key_of(name) for name in next(reader, [])]
        if len({*filter(None, columns)}) < len([*filter(None, columns)]):
            yield Record(path, 1, problem="two columns have the same name")
            return
        line = first_line = reader.line_num + 1 + bool(named)
        for row in reader:
            if len(row) > len(columns):
                yield Record(path, line, problem=f"{len(row)} cells in a row of a table with {len(columns)} columns")
            elif any(row):
                yield Record(path, line, {name: cell for name, cell in zip(columns, row, strict=False) if name})
            line = reader.line_num + 1 + bool(named)
        if line == first_line and columns:
            yield Record(path, 1, problem=NO_ROWS, kind=EMPTY)
    except UnicodeDecodeError as error:
        yield Record(path, line, problem=not_utf8(error))
    except csv.Error:
        yield Record(path, line, problem="not a table: a quote has no end, or stands inside of a cell")


def read_parquet(file: Path, path: str, most_bytes: int) -> Iterator[Record]:
    """Yield each row of a Parquet file as an object, a few at a time; `line` counts rows.

    At most `most_bytes` are unpacked; a value that many rows share, which a file holds once, counts for each of them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(file) as table:
            groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
            sizes = [group.total_byte_size for group in groups]
            if sum(sizes) > most_bytes:
                yield Record(path, 1, problem=GROWN)
                return
            if not table.metadata.num_rows:
                yield Record(path, 1, problem=NO_ROWS, kind=EMPTY)
            left = most_bytes
            for batch in table.iter_batches(batch_size=max(1, min(ROWS_AT_ONCE, most_bytes // max(1, *sizes)))):
                for value in batch.to_pylist(maps_as_pydicts="lossy"):
                    row, found = row + 1, _plain(value, 0)
                    left -= _characters(found)
                    if left < 0:
                        yield Record(path, row, problem=GROWN)
                        return
                    yield Record(path, row, found)
    except (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError):
        yield Record(path, row + 1, problem="the Parquet file is damaged, or of a kind that cannot be read")


def _characters(value: object) -> int:
    """Return how much text a value holds."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_characters, inner))


def _plain(value: object, depth: int) -> object:
    """Turn a value of Arrow into one that JSON has."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else None
