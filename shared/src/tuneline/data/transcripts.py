"""Reads transcripts as they come: every file to its end, what can be mended is, and all that is wrong is said at once.

A problem reads `path:line: field: problem (got …)`; it names kinds of values and never shows a message.
Two records with one id and different content are both refused, by name; equal ones are one.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import Closed, Id
from tuneline.data.judged import Exchange, Transcript
from tuneline.data.reading.files import read_records
from tuneline.data.reading.histories import continued, continues
from tuneline.data.reading.messages.content import EMPTY, Problem
from tuneline.data.reading.records import Record
from tuneline.data.reading.repairs import Repair, Tools, normalise
from tuneline.data.reading.speakers import Speakers
from tuneline.errors import UserError
from tuneline.parsing.problems import MAX_PROBLEMS, printable

__all__ = ["Exchange", "ReadTranscripts", "Rejection", "Repaired", "Transcript", "read_transcripts"]

MAX_KEPT = 10_000
"""Records that can be left out at most, because each of them is listed; after one more, nothing more is read."""
ALIKE = 10
"""Problems in the same words that are listed; of more of them their number is said."""
BY_NAME = "Where only names are there, `assessor: {answered_by: [name]}` says who answers."
MAX_SHARE = 0.01
"""Share of the records that may be left out where that is more than a number: more means that the export is wrong."""
MAX_EMPTY = 0.5
"""Share of the records that may hold no exchange: chats that nobody began or answered are in every export."""


class Rejection(Closed):
    """A transcript, or one of its slice points, that goes no further: a row of every rejected.jsonl."""

    id: Id | None
    """The transcript's id, if it can be read."""
    point: int | None = None
    """The slice point, in exchanges, where it is not the whole transcript."""
    file: str | None = None
    """The file that it stands in, below the input."""
    line: int | None = None
    """The line, from 1; of a Parquet file the row."""
    kind: str
    """One of a few, for counting."""
    reason: str
    """What is wrong with it, in words that quote nothing."""


class Repaired(Closed):
    """A transcript that was mended: a row of repairs.jsonl."""

    id: Id
    file: str
    line: int
    """The line, from 1; of a Parquet file the row."""
    repairs: dict[Repair, int]
    """How often, by kind."""


class ReadTranscripts(NamedTuple):
    """Transcripts sorted by id, those that were left out, and those that were mended, sorted by id."""

    transcripts: list[Transcript]
    rejected: list[Rejection]
    repaired: list[Repaired]
    places: Mapping[str, str]
    """File and line of each transcript, by id."""

    @property
    def kinds(self) -> Counter[str]:
        """How many were left out, by kind of problem."""
        return Counter(rejection.kind for rejection in self.rejected)

    @property
    def repairs(self) -> Counter[str]:
        """How often each kind of repair was made."""
        total: Counter[str] = Counter()
        for row in self.repaired:
            total.update(row.repairs)
        return total


def read_transcripts(
    path: Path,
    max_bad: int | None = None,
    tools: Tools = "refuse",
    answering: Collection[str] = (),
    *,
    joined: bool = True,
) -> ReadTranscripts:
    """Read and check the transcripts in a file, or in all files of transcripts below a folder.

    Raises UserError listing every problem (the first 100, of those in the same words 10) if more records are bad than
    `max_bad` and 1 % of all; None is for none at all. A conversation without an exchange is left out, too, and is not
    bad where most have one. `tools`: what becomes of the tools that an assistant used. `answering`: who answers where
    only names are there; raises UserError for one who says nothing. `joined`: of the calls of a model in which a
    conversation goes on, the last one stands for all; else each counts.
    """
    reader, speakers = _Collector(tools), Speakers(answering)
    for record in read_records(path, speakers):
        reader.add(record)
        if reader.bad > MAX_KEPT:
            break
    if speakers.missing and reader.only_empty:
        name = printable(speakers.missing[0])
        raise UserError(f"answered_by: nobody in {printable(path.name)} speaks by the name {name}")
    reader.refuse_taken()
    if joined:
        reader.join_calls()
    _refuse(reader, path, max_bad)
    found = sorted(reader.found.values(), key=lambda one: one.transcript.id)
    repaired = [
        Repaired(id=one.transcript.id, file=one.path, line=one.line, repairs=dict(sorted((+one.repairs).items())))
        for one in found
        if +one.repairs
    ]
    places = {one.transcript.id: f"{one.path}:{one.line}" for one in found}
    return ReadTranscripts([one.transcript for one in found], reader.rejected, repaired, places)


def _refuse(reader: _Collector, path: Path, max_bad: int | None) -> None:
    """Raise UserError if too many records cannot be used, or there is none that can."""
    most = 0 if max_bad is None else min(max(max_bad, int(MAX_SHARE * reader.count)), MAX_KEPT)
    if reader.bad > most:
        raise UserError("\n".join([_head(reader, None if max_bad is None else most), *reader.shown()]))
    if not reader.count:
        raise UserError(f"No transcripts in {printable(path.name)}: it has no file of JSON, CSV or Parquet.")
    if not reader.found:
        raise UserError("\n".join([f"None of {reader.count} transcripts can be used:", *reader.shown()]))


def _head(reader: _Collector, most: int | None) -> str:
    """Say how many cannot be used of how many, and what leaves them out."""
    first = "the first " if reader.bad > MAX_KEPT else ""
    head = f"{reader.bad} of {first}{reader.count} transcripts cannot be used"
    limit = "" if most is None else f"at most {most:,} may be left out"
    way_out = f"`assessor: {{on_bad: skip, max_bad: {reader.bad}}}` leaves out all" * bool(reader.found and not first)
    more = "; ".join(filter(None, (limit, way_out)))
    return f"{head} ({more}):" if more else f"{head}:"


class _Found(NamedTuple):
    """A transcript, the place it came from, and what was mended."""

    transcript: Transcript
    path: str
    line: int
    repairs: Counter[Repair]
    is_call: bool


class _Problems:
    """Records of one sort with their problems, the first of which are kept as lines."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[str] = []
        self._alike: Counter[str] = Counter()
        self._others = 0

    def add(self, lines: list[str], problems: list[Problem]) -> None:
        """Count a record; each of its problems has a line that says where."""
        self.count += 1
        for line, problem in zip(lines, problems, strict=True):
            self._alike[problem.text] += 1
            if self._alike[problem.text] > ALIKE:
                continue
            if len(self._lines) < MAX_PROBLEMS:
                self._lines.append(line)
            else:
                self._others += 1

    def shown(self) -> list[str]:
        """Return the first lines, and how many more say the same or something else."""
        alike = [f"and {count - ALIKE:,} more: {text}" for text, count in self._alike.items() if count > ALIKE]
        return [*self._lines, *alike[:MAX_PROBLEMS], *([f"and {self._others:,} others"] if self._others else [])]


class _Collector:
    """What was read so far: transcripts with the place they came from, by id, and problems."""

    def __init__(self, tools: Tools) -> None:
        self.found: dict[str, _Found] = {}  # ids that look the same are the same
        self.rejected: list[Rejection] = []
        self.count = 0
        self._problems, self._empty = _Problems(), _Problems()
        self._tools = tools
        self._taken: dict[str, list[_Found]] = {}

    def add(self, record: Record) -> None:
        """Check one record, and keep it or what is wrong with it."""
        self.count += 1
        if record.problem:
            self._reject(None, record, [Problem((), record.problem, record.kind)])
            return
        read = normalise(record.value, self._tools)
        if read.transcript is None:
            self._reject(read.id, record, read.problems)
        else:
            [line] = record.lines_of([()])
            self._keep(_Found(read.transcript, record.path, line, read.repairs, read.is_call))

    @property
    def bad(self) -> int:
        """How many cannot be used, but for those without an exchange where most have one."""
        return len(self.rejected) - (self._empty.count if self._empty.count <= MAX_EMPTY * self.count else 0)

    @property
    def only_empty(self) -> bool:
        """Whether nothing was wrong but that nobody asked or answered."""
        return not self._problems.count

    def shown(self) -> list[str]:
        """Return the first problems as lines, and how many more there are."""
        empty = self._empty.shown() if self.bad == len(self.rejected) else []
        return [*self._problems.shown(), *empty, *([BY_NAME] if any(r.kind == "role" for r in self.rejected) else [])]

    def refuse_taken(self) -> None:
        """Refuse all records of an id under which different ones were found."""
        for key, others in self._taken.items():
            del self.found[key]
            for one in others:
                other = others[1] if one is others[0] else others[0]
                text = f"is also used by {other.path}:{other.line}, with different content"
                self._reject(one.transcript.id, Record(one.path, one.line), [Problem(("id",), text, "id_taken")])

    def join_calls(self) -> None:
        """Leave out each call that another one repeats and continues."""
        calls = {key: one.transcript for key, one in self.found.items() if one.is_call}
        for key, longer in continued(calls).items():
            self.found[longer].repairs["calls_joined"] += 1 + self.found.pop(key).repairs["calls_joined"]

    def _keep(self, new: _Found) -> None:
        key = unicodedata.normalize("NFC", new.transcript.id)
        old = self.found.setdefault(key, new)
        if old is new:
            return
        calls = old.is_call and new.is_call and key not in self._taken
        other, longer = sorted((old, new), key=lambda one: len(one.transcript.exchanges))
        if calls and continues(longer.transcript, other.transcript):
            self.found[key] = longer
            longer.repairs["calls_joined"] += 1 + other.repairs["calls_joined"]
        elif key in self._taken or not _are_equal(old.transcript, new.transcript):
            self._taken.setdefault(key, [old]).append(new)
        else:
            old.repairs["duplicates_merged"] += 1

    def _reject(self, name: str | None, record: Record, problems: list[Problem]) -> None:
        lines = record.lines_of([problem.loc for problem in problems])
        shown = [_place(record.path, line, one) for line, one in zip(lines, problems, strict=True)]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        self.rejected.append(
            Rejection(id=name, file=record.path, line=lines[0], kind=problems[0].kind, reason=shown[0] + more)
        )
        (self._empty if problems[0].kind == EMPTY else self._problems).add(shown, problems)


def _are_equal(one: Transcript, other: Transcript) -> bool:
    return (one.sha256, one.persona, one.unlearnt) == (other.sha256, other.persona, other.unlearnt)


def _place(path: str, line: int, problem: Problem) -> str:
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.loc).removeprefix(".")
    return ": ".join(filter(None, (f"{path}:{line}", field, problem.text)))
