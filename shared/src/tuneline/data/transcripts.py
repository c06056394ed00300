"""Reads transcripts: every file is checked to its end, and everything that is wrong is said at once.

A problem reads `path:line: field: problem (got …)`; it names kinds of values and never shows a message.
The same id twice is a problem even where the content is the same too: it would count twice in every figure.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import Closed, Id
from tuneline.data.transcript_files import RawRecord, read_records
from tuneline.data.transcript_shapes import Exchange, Problem, Transcript, normalise
from tuneline.errors import BadJson, UserError
from tuneline.parsing.json import lines_of, parse_json
from tuneline.parsing.problems import printable

__all__ = ["Exchange", "ReadTranscripts", "Rejection", "Transcript", "read_transcripts"]

MAX_SHOWN = 100
MAX_KEPT = 10_000
"""Records that can be left out at most, because each of them is listed; after one more, nothing more is read."""
UNREADABLE = "unreadable"


class Rejection(Closed):
    """A transcript, or one of its slice points, that goes no further: a row of every rejected.jsonl."""

    id: Id | None
    """The transcript's id, if it can be read."""
    point: int | None = None
    """The slice point, in exchanges, where it is not the whole transcript."""
    kind: str
    """One of a few, for counting."""
    reason: str
    """What is wrong with it, in words that quote nothing."""


class ReadTranscripts(NamedTuple):
    """Transcripts sorted by id, and those that were left out."""

    transcripts: list[Transcript]
    rejected: list[Rejection]


def read_transcripts(path: Path, most_bad: float = 0.0) -> ReadTranscripts:
    """Read and check the transcripts in a file, or in all `.json` and `.jsonl` files below a folder.

    Raises UserError listing every problem (the first 100) if more than the share `most_bad` of the records are bad.
    """
    reader = _Collector()
    for record in read_records(path):
        reader.add(record)
        if reader.bad > MAX_KEPT:
            break
    if reader.bad > min(most_bad * reader.count, MAX_KEPT):
        limit = f" (at most {most_bad:.0%}, and {MAX_KEPT:,}, may be left out)" if most_bad else ""
        more = [f"and {reader.problems - MAX_SHOWN:,} more"] if reader.problems > MAX_SHOWN else []
        first = "the first " if reader.bad > MAX_KEPT else ""
        head = f"{reader.bad} of {first}{reader.count} transcripts cannot be used{limit}:"
        raise UserError("\n".join([head, *reader.shown, *more]))
    if not reader.count:
        raise UserError(f"No transcripts in {printable(path.name)}: it has no file that ends in .json or .jsonl.")
    transcripts = sorted((transcript for transcript, _ in reader.found.values()), key=lambda t: t.id)
    return ReadTranscripts(transcripts, reader.rejected)


class _Collector:
    """What was read so far: transcripts with the place they came from, by id, and problems."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Transcript, str]] = {}  # ids that look the same are the same
        self.rejected: list[Rejection] = []
        self.shown: list[str] = []
        self.count = self.bad = self.problems = 0

    def add(self, record: RawRecord) -> None:
        """Check one record, and keep it or what is wrong with it."""
        name, problems = self._check(record)
        self.count += 1
        if problems:
            self.bad += 1
            self.problems += len(problems)
            self.shown += problems[: MAX_SHOWN - len(self.shown)]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self.rejected.append(Rejection(id=name, kind=UNREADABLE, reason=problems[0] + more))

    def _check(self, record: RawRecord) -> tuple[str | None, list[str]]:
        """Return the record's id, as far as it has one, and its problems as `path:line: field: problem`."""
        if record.problem:
            return None, [f"{record.path}:{record.line}: {record.problem}"]
        try:
            value = parse_json(record.data)
        except BadJson as bad:
            return None, [f"{record.path}:{record.line + bad.line - 1}: {bad.problem}"]
        read = normalise(value)
        problems = read.problems or (self._keep(read.transcript, record) if read.transcript else [])
        locs = [problem.loc for problem in problems]
        lines = [record.line] * len(locs) if record.is_line or not locs else lines_of(record.data, locs)
        return read.id, [_place(record.path, line, problem) for line, problem in zip(lines, problems, strict=True)]

    def _keep(self, transcript: Transcript, record: RawRecord) -> list[Problem]:
        key, place = unicodedata.normalize("NFC", transcript.id), f"{record.path}:{record.line}"
        other, taken = self.found.setdefault(key, (transcript, place))
        if other is transcript:
            return []
        same = "the same content" if other.sha256 == transcript.sha256 else "different content"
        return [Problem(("id",), f"is already used by {taken} (got {same})")]


def _place(path: str, line: int, problem: Problem) -> str:
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.loc).removeprefix(".")
    return ": ".join(filter(None, (f"{path}:{line}", field, problem.text)))
