"""Reads transcripts: every file is checked to its end, and everything that is wrong is said at once.

A problem reads `path:line: field: problem (got …)`; it names kinds of values and never shows a message.
The same id twice is a problem even where the content is the same too: it would count twice in every figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.transcript_files import Record, read_records
from tuneline.data.transcript_shapes import Exchange, Transcript, normalise
from tuneline.errors import BadJson, UserError
from tuneline.parsing.json import lines_of, parse_json
from tuneline.parsing.problems import Loc

__all__ = ["Exchange", "ReadTranscripts", "Rejected", "Transcript", "read_transcripts"]

MAX_SHOWN = 100
MAX_SKIPPED = 0.01
"""Share of the records that `on_bad=skip` may leave out: more means that something is wrong with the export."""


class Rejected(NamedTuple):
    """One problem of one record. `id` is None where it cannot be read; `field` is empty for the record as a whole."""

    path: str
    line: int
    id: str | None
    field: str
    problem: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self.path}:{self.line}", self.field, self.problem)))


class ReadTranscripts(NamedTuple):
    """Transcripts sorted by id, and the problems of those left out (none unless `on_bad` is "skip")."""

    transcripts: list[Transcript]
    rejected: list[Rejected]


def read_transcripts(path: Path, on_bad: Literal["fail", "skip"] = "fail") -> ReadTranscripts:
    """Read and check the transcripts in a file, or in all `.json` and `.jsonl` files below a folder.

    Raises UserError listing every problem (the first 100), or, with "skip", if more than 1 % of the records are bad.
    """
    reader = _Reader()
    bad = sum(not reader.add(record) for record in read_records(path))
    count = len(reader.found) + bad
    if reader.rejected and on_bad == "fail":
        raise UserError(_list(reader.rejected, f"{bad} of {count} transcripts cannot be used:"))
    if bad > MAX_SKIPPED * count:
        limit = f"on_bad=skip leaves out at most {MAX_SKIPPED:.0%}"
        raise UserError(_list(reader.rejected, f"{bad} of {count} transcripts cannot be used ({limit}):"))
    if not count:
        raise UserError(f"No transcripts in {path.name}: it has no file that ends in .json or .jsonl.")
    transcripts = sorted((transcript for transcript, _ in reader.found.values()), key=lambda t: t.id)
    return ReadTranscripts(transcripts, reader.rejected)


class _Reader:
    """What was read so far: transcripts with the place they came from, by id, and problems."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Transcript, str]] = {}
        self.rejected: list[Rejected] = []
        self._shape: tuple[str, str | None] = ("", None)

    def add(self, record: Record) -> bool:
        """Check one record; returns whether it is good."""
        before = len(self.rejected)
        self.rejected += self._check(record)
        return len(self.rejected) == before

    def _check(self, record: Record) -> Iterator[Rejected]:
        if record.problem:
            yield Rejected(record.path, record.line, None, "", record.problem)
            return
        try:
            value = parse_json(record.data)
        except BadJson as bad:
            yield Rejected(record.path, record.line + bad.line - 1, None, "", bad.problem)
            return
        shape, name, transcript, problems = normalise(value)
        for problem, line in zip(problems, _lines(record, [problem.loc for problem in problems]), strict=True):
            yield Rejected(record.path, line, name, _field(problem.loc), problem.text)
        if transcript:
            yield from self._place(record, shape, transcript)

    def _place(self, record: Record, shape: str | None, transcript: Transcript) -> Iterator[Rejected]:
        """Keep a good transcript, unless its shape is not its file's or its id is taken."""
        place = f"{record.path}:{record.line}"
        path, first = self._shape
        if path == record.path and shape != first:
            problem = f"the file mixes shapes (got {shape} after {first})"
            yield Rejected(record.path, record.line, transcript.id, "", problem)
            return
        self._shape = (record.path, shape)
        other, taken = self.found.setdefault(transcript.id, (transcript, place))
        if other is not transcript:
            same = "the same content" if other.sha256 == transcript.sha256 else "different content"
            [line] = _lines(record, [("id",)])
            yield Rejected(record.path, line, transcript.id, "id", f"is taken by {taken} (got {same})")


def _lines(record: Record, locs: list[Loc]) -> list[int]:
    return [record.line] * len(locs) if record.is_line or not locs else list(lines_of(record.data, locs))


def _field(loc: Loc) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")


def _list(problems: Iterable[Rejected], head: str) -> str:
    lines = [str(problem) for problem in problems]
    more = [f"and {len(lines) - MAX_SHOWN:,} more"] if len(lines) > MAX_SHOWN else []
    return "\n".join([head, *lines[:MAX_SHOWN], *more])
