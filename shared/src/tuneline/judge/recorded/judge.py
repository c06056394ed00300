"""The judge `recorded`: answers that exist already, from people or from an earlier judge, by transcript id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.data.io import Closed
from tuneline.data.rubric import Criterion, Rubric
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Ask, Judgement, Status
from tuneline.errors import UserError
from tuneline.judge.answer import as_answer
from tuneline.judge.card import JudgeCard
from tuneline.judge.prompt import allowed_answers, questions_sha256
from tuneline.judge.recorded.files import files_in, read_items
from tuneline.judge.recorded.rows import AnswerRow, Bad, read_rows
from tuneline.parsing.problems import MAX_PROBLEMS, listed, nearest, printable, shortened
from tuneline.stage import Account, Json


class RecordedConfig(Closed):
    """Configuration of the judge `recorded`: the answers are an input of the stage."""

    provider: Literal["recorded"]
    repeated: Literal["refuse", "latest"] = "refuse"
    """What to do where a transcript has answers more than once: stop, or take those that stand last."""


class RecordedJudge:
    """Looks answers up in a file or folder. Raises UserError, naming lines, when that is not what it should be."""

    label = "recorded answers"
    offline = False

    def __init__(self, path: Path | None, repeated: Literal["refuse", "latest"] = "refuse") -> None:
        if path is None:
            raise UserError(
                "The provider `recorded` reads the input `answers`, which is not given: it can only judge transcripts "
                "that were judged before. Name a file of answers, or use another provider."
            )
        self._repeated, self._sha256 = repeated, hashlib.sha256(repeated.encode())
        self.rows: dict[str, AnswerRow] = {}
        problems: list[str] = []
        for file in files_in(path):
            data = _read(file)
            self._sha256.update(hashlib.sha256(data).digest())
            for place, item in read_items(file.name, data):
                problems += [problem for row in read_rows(place, item) if (problem := self._take(row))]
                if len(problems) >= MAX_PROBLEMS:
                    break
        if problems:
            raise UserError("\n".join(listed(problems)))

    @classmethod
    def joined(cls, parts: Sequence[tuple[RecordedJudge, Mapping[str, str]]]) -> RecordedJudge:
        """Return one judge of several; of each, the id that a transcript has by that of its answers."""
        made = cls.__new__(cls)
        made._repeated, made._sha256, made.rows = "refuse", hashlib.sha256(), {}
        for judge, names in parts:
            made._sha256.update(judge._sha256.digest() + repr(sorted(names.items())).encode())
            made.rows |= {name: judge.rows[row]._replace(id=name) for name, row in names.items()}
        return made

    def _take(self, row: AnswerRow | Bad) -> str:
        """Keep a row, or return what is wrong with it."""
        if isinstance(row, Bad):
            return f"{row.place}: {row.problem}"
        old = self.rows.get(row.id)
        if old and old.is_part and row.is_part and not old.answers.keys() & row.answers.keys():
            old.answers.update(row.answers)
            old.reasons.update(row.reasons)
            return ""
        if old and self._repeated == "refuse":
            return (
                f"{row.place}: id: `{printable(row.id)}` has answers already, in {old.place}; where the last ones "
                "count, say `repeated: latest` in the judge's configuration"
            )
        if old and row.is_part and old.is_part:
            row = row._replace(answers={**old.answers, **row.answers}, reasons={**old.reasons, **row.reasons})
        self.rows[row.id] = row
        return ""

    def key(self, transcript: Transcript) -> str:
        """Return the id: people may have judged the same content twice, and not alike."""
        return transcript.id

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        return ("recorded", self._sha256.hexdigest(), questions_sha256(rubric))

    def card(self, rubric: Rubric) -> JudgeCard:
        settings: dict[str, Json] = {"answers_sha256": self._sha256.hexdigest()}
        asked = questions_sha256(rubric)
        return JudgeCard(
            label=self.label, provider="recorded", family="recorded", questions_sha256=asked, settings=settings
        )

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        if missing := [t.id for t in transcripts if t.id not in self.rows]:
            known = shortened(list(self.rows)) or "nothing at all"
            others = "" if len(missing) < len(transcripts) else f"; there are answers for {known}"
            raise UserError(
                f"{len(missing)} of {len(transcripts)} transcripts have no recorded answers: "
                f"{shortened(missing)}{others}"
            )
        if changed := [t.id for t in transcripts if self.rows[t.id].sha256 not in (None, t.sha256)]:
            raise UserError(f"{len(changed)} transcripts have changed since they were judged: {shortened(changed)}")
        problems = [
            f"{row.place}: answers.{c.id}: {problem}"
            for t in transcripts
            if (row := self.rows[t.id]).status == "scored"
            for c in rubric.asked(len(t.exchanges)).criteria
            if (problem := _problem_of(row, c))
        ]
        if problems:
            head = (
                f"{len(problems)} answers to criteria of the rubric are missing or mean nothing "
                "(`from_exchange` in the rubric spares short conversations a criterion):"
            )
            raise UserError("\n".join([head, *listed(problems)]))

    @contextmanager
    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> Iterator[Ask]:
        def ask(transcript: Transcript, again: bool) -> Judgement:
            row = self.rows[transcript.id]
            if row.status != "scored":
                return Judgement(status=row.status, asked=2, detail=f"recorded as {row.status}")
            needed = [criterion.id for criterion in rubric.asked(len(transcript.exchanges)).criteria]
            if errors := [name for name in needed if row.answers[name] == "ERROR"]:
                return Judgement(status="incomplete", asked=2, detail=f"recorded as ERROR: {', '.join(errors)}")
            return Judgement(status="scored", answers=_valid(row), reasons=row.reasons)

        yield ask


def _problem_of(row: AnswerRow, criterion: Criterion) -> str:
    """Return what is wrong with the answer to a criterion: nothing, in most cases."""
    given = row.answers.get(criterion.id)
    if given is None:
        near = nearest(criterion.id, row.answers)
        return "is missing" + (f"; did you mean `{printable(near)}`?" if near else "")
    if given == "?":
        return "is none of YES, NO, NA and ERROR"
    if given == "NA" and given not in allowed_answers(criterion):
        return "is NA, but the rubric gives NA no meaning here (`na:`)"
    return ""


class RecordedAnswers(NamedTuple):
    """What is recorded of one transcript."""

    answers: dict[str, Answer]
    status: Status
    sha256: str | None


def read_recorded(path: Path) -> dict[str, RecordedAnswers]:
    """Read recorded answers by id. Raises UserError, naming lines, when the file is not what it should be."""
    return {row.id: RecordedAnswers(_valid(row), row.status, row.sha256) for row in RecordedJudge(path).rows.values()}


def _valid(row: AnswerRow) -> dict[str, Answer]:
    """Return the answers that count, without ERROR and what is none."""
    return {name: answer for name, given in row.answers.items() if (answer := as_answer(given))}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f"answers: {path.name} cannot be read: {e.strerror}") from None
