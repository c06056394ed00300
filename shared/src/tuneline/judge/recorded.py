"""The judge `recorded`: answers that exist already, from people or from an earlier judge, by transcript id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError

from tuneline.data.io import Closed
from tuneline.data.rubric import Rubric
from tuneline.data.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Ask, Judgement, Status
from tuneline.errors import BadJson, UserError
from tuneline.judge.card import JudgeCard
from tuneline.judge.prompt import questions_sha256
from tuneline.parsing.json import parse_json
from tuneline.parsing.problems import printable
from tuneline.stage import Account, Json

MAX_NAMED = 5
MAX_SHOWN = 100


class RecordedConfig(Closed):
    """Configuration of the judge `recorded`: the answers are an input of the stage."""

    provider: Literal["recorded"]


class RecordedAnswers(BaseModel):
    """One line of the answers: of verdicts.jsonl, or of any JSON Lines with an id and an answer by criterion."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(validation_alias=AliasChoices("id", "transcript_id", "conversation_id"))
    answers: dict[str, Answer]
    reasons: dict[str, str] = Field(default_factory=dict, validation_alias=AliasChoices("reasons", "reasonings"))
    status: Status = "scored"
    sha256: str | None = None
    """Content that was judged; where it is recorded it must still be the same."""


class RecordedJudge:
    """Looks answers up in a file. Raises UserError, naming lines, when the file is not what it should be."""

    label = "recorded answers"
    offline = False

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise UserError(
                "The provider `recorded` reads the input `answers`, which is not given: it can only judge transcripts "
                "that were judged before. Name a file of answers, or use another provider."
            )
        data = _read(path)
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._rows = _rows(path.name, data)

    def key(self, transcript: Transcript) -> str:
        """Return the id: people may have judged the same content twice, and not alike."""
        return transcript.id

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        return ("recorded", self._sha256)

    def card(self, rubric: Rubric) -> JudgeCard:
        settings: dict[str, Json] = {"answers_sha256": self._sha256}
        asked = questions_sha256(rubric)
        return JudgeCard(
            label=self.label, provider="recorded", family="recorded", questions_sha256=asked, settings=settings
        )

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        if missing := [t.id for t in transcripts if t.id not in self._rows]:
            raise UserError(
                f"{len(missing)} of {len(transcripts)} transcripts have no recorded answers: {_some(missing)}"
            )
        if changed := [t.id for t in transcripts if self._rows[t.id].sha256 not in (None, t.sha256)]:
            raise UserError(f"{len(changed)} transcripts have changed since they were judged: {_some(changed)}")
        scored = [row for row in (self._rows[t.id] for t in transcripts) if row.status == "scored"]
        if gaps := [f"{row.id} ({c.id})" for row in scored for c in rubric.criteria if c.id not in row.answers]:
            raise UserError(f"{len(gaps)} answers to criteria of the rubric are missing: {_some(gaps)}")

    @contextmanager
    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> Iterator[Ask]:
        def ask(transcript: Transcript, again: bool) -> Judgement:
            row = self._rows[transcript.id]
            if row.status != "scored":
                return Judgement(status=row.status, asked=2, detail="recorded so")
            return Judgement(status="scored", answers=row.answers, reasons=row.reasons)

        yield ask


def read_recorded(path: Path) -> dict[str, RecordedAnswers]:
    """Read recorded answers by id. Raises UserError, naming lines, when the file is not what it should be."""
    return _rows(path.name, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"answers: {path.name} cannot be read: {e.strerror}") from None


def _rows(name: str, data: bytes) -> dict[str, RecordedAnswers]:
    rows: dict[str, RecordedAnswers] = {}
    problems: list[str] = []
    for place, item in _items(name, data):
        try:
            row = RecordedAnswers.model_validate(item)
            row.model_dump_json()
        except ValidationError as e:
            first = e.errors(include_input=False)[0]
            problems.append(f"{place}: {printable('.'.join(map(str, first['loc'])))}: {first['msg']}")
        except PydanticSerializationError:
            problems.append(f"{place}: half of a surrogate pair, which is not a character")
        else:
            if row.id in rows:
                problems.append(f"{place}: id: `{printable(row.id)}` has answers already")
            rows[row.id] = row
        if len(problems) == MAX_SHOWN:
            break
    if problems:
        raise UserError("\n".join(problems))
    return rows


def _items(name: str, data: bytes) -> Iterator[tuple[str, object]]:
    """Yield every row with its place: of JSON Lines, or of one JSON list, which is how a run file holds them inline."""
    if data.lstrip().startswith(b"["):
        rows = _parse(name, 1, data)
        for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
            yield f"{name}: item {number}", row
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"{name}:{number}", _parse(name, number, line)


def _parse(name: str, line: int, data: bytes) -> object:
    try:
        return parse_json(data)
    except BadJson as bad:
        raise UserError(f"{name}:{line + bad.line - 1}: {bad.problem}") from None


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return printable(", ".join(names[:MAX_NAMED])) + (f" and {more} more" if more > 0 else "")
