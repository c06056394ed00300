"""Files of answers: JSON of any layout, JSON Lines or CSV, taken apart into items with their places."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tuneline.data.reading.records import MAX_RECORD_BYTES
from tuneline.errors import BadJson, UserError
from tuneline.parsing.json import is_json, lines_of, parse_json
from tuneline.parsing.problems import Loc, line_of, not_utf8, printable

ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
IDS = ("transcript_id", "conversation_id", "session_id", "dialogue_id", "sample_id", "id")
"""Keys for the id of a transcript, the surest first."""

_WRAPPERS = ("answers", "results", "verdicts", "rows", "items", "data", "judgements", "judgments", "evaluations")
_SPACE = re.compile(r"\s*")


class Document:
    """A JSON document with several items, whose lines are looked for, all at once, when somebody asks."""

    def __init__(self, data: bytes, first_line: int) -> None:
        self._data, self._first_line = data, first_line
        self.locs: list[Loc] = []

    @cached_property
    def lines(self) -> dict[Loc, int]:
        """Line of each item in its file."""
        return {
            loc: self._first_line + n - 1 for loc, n in zip(self.locs, lines_of(self._data, self.locs), strict=True)
        }


class Place(NamedTuple):
    """Where an item stands: in a line, or at a place of a document."""

    name: str
    line: int
    document: Document | None = None
    loc: Loc = ()

    def __str__(self) -> str:
        return f"{printable(self.name)}:{self.document.lines[self.loc] if self.document else self.line}"


def files_in(path: Path) -> list[Path]:
    """Return the file, or those of a folder that may hold answers, in order of path."""
    found = (
        sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in ENDINGS) if path.is_dir() else [path]
    )
    if not found:
        raise UserError(f"answers: {printable(path.name)} has no file that ends in {', '.join(ENDINGS)}")
    return found


def read_items(name: str, data: bytes) -> Iterator[tuple[Place, object]]:
    """Yield what a file says about one transcript each. Raises UserError, with the line, when it is no such file."""
    if name.lower().endswith((".csv", ".tsv")):
        yield from ((place, dict(zip(columns, cells, strict=False))) for place, columns, cells in read_csv(name, data))
    else:
        yield from _values(name, data)


def read_csv(name: str, data: bytes) -> Iterator[tuple[Place, list[str], list[str]]]:
    """Yield the place of each row that is not empty, the columns, and as many cells or fewer, without space around."""
    try:
        lines = data.decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as e:
        raise UserError(f"{name}:{line_of(e)}: {not_utf8(e)}") from None
    csv.field_size_limit(MAX_RECORD_BYTES)  # for the whole process: the same for all readers of tables
    skipped = 1 if lines and lines[0].lower().startswith("sep=") else 0
    header = lines[skipped] if len(lines) > skipped else ""
    reader = csv.reader(lines[skipped:], delimiter=max(",;\t", key=header.count), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
            raise UserError(f"{name}:{skipped + 1}: two columns are called `{printable(twice[0])}`")
        begin = reader.line_num
        for cells in reader:
            place, begin = Place(name, skipped + begin + 1), reader.line_num
            if len(cells) > len(columns):
                raise UserError(f"{place}: {len(cells)} cells, but {len(columns)} columns have a name")
            if any(map(str.strip, cells)):
                yield place, columns, [cell.strip() for cell in cells]
    except csv.Error as e:
        raise UserError(f"{name}:{skipped + reader.line_num}: not CSV: {printable(str(e))}") from None


def _values(name: str, data: bytes) -> Iterator[tuple[Place, object]]:
    """Yield the items of JSON Lines, of one document, or of documents that follow each other."""
    lines = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if len(lines) > 1 and is_json(lines[0][1]):
        for number, line in lines:
            yield Place(name, number), _parse(name, number, line)
        return
    for number, text in _documents(data):
        items = list(_items(_parse(name, number, text), ()))
        document = Document(text, number)
        document.locs = [loc for loc, _ in items]
        yield from ((Place(name, number, document, loc), item) for loc, item in items)


def _documents(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each of the values that follow each other, with its first line; all in one where that cannot be told."""
    try:
        text, at, decoder = data.decode("utf-8-sig"), 0, json.JSONDecoder()
        ends = []
        while (start := _end_of_space(text, at)) < len(text):
            _, at = decoder.raw_decode(text, start)
            ends.append((start, at))
    except (ValueError, RecursionError):
        ends = []
    if len(ends) < 2:
        yield 1, data
        return
    line, last = 1, 0
    for start, end in ends:
        line, last = line + text.count("\n", last, start), start
        yield line, text[start:end].encode("utf-8", "surrogatepass")


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _parse(name: str, line: int, data: bytes) -> object:
    try:
        return parse_json(data)
    except BadJson as bad:
        raise UserError(f"{name}:{line + bad.line - 1}: {bad.problem}") from None


def _items(value: object, loc: Loc) -> Iterator[tuple[Loc, object]]:
    """Yield what stands for one transcript each: of a list, of an object by id, or below a word such as `results`."""
    if isinstance(value, list):
        yield from (((*loc, number), item) for number, item in enumerate(value))
    elif isinstance(value, dict) and not value.keys() & {*IDS} and "annotations" not in value and len(loc) < 3:
        below = next((key for key in _WRAPPERS if isinstance(value.get(key), dict | list)), None)
        if below is not None:
            yield from _items(value[below], (*loc, below))
        elif value and all(isinstance(item, dict) for item in value.values()):
            yield from (((*loc, key), {"id": key, **item}) for key, item in value.items())
        else:
            yield loc, value
    else:
        yield loc, value
