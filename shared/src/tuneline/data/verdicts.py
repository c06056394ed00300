"""A verdict: what a judge found about one transcript. One row of `verdicts.jsonl`.

A refusal, a block or an unreadable answer is a status, never a score of 0: only rows with the status `scored` have a
score, and only they may enter a mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field

from tuneline.data.io import Closed, Id
from tuneline.data.rubric import Rubric, score
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.stage import Usage

Status = Literal["scored", "refused", "blocked", "unparsed", "too_long", "failed", "incomplete"]


class Asking(Closed):
    """What became of asking a judge once: the row of a journal, without what was answered."""

    status: Status
    usage: Usage = Usage()
    asked: int = 1
    """How often the judge was asked: 2 after an unreadable answer."""
    day: str = ""
    """When a model made it, UTC, as in 2026-12-24."""
    detail: str = ""
    """Why it is not scored, in words that quote nothing."""

    def followed_by(self, second: Self) -> Self:
        """Return the second answer, with what both took."""
        return second.model_copy(update={"usage": self.usage + second.usage, "asked": self.asked + second.asked})


class Judgement(Asking):
    """What a judge answered, before any arithmetic, so that new weights re-judge nothing."""

    answers: dict[str, Answer] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)


Ask = Callable[[Transcript, bool], Judgement]
"""Judges one transcript, from any thread; True asks again, after an answer that could not be read.

Raises UserError, or Temporary when this transcript cannot be judged now.
"""


class Pass(Closed):
    """A transcript that passed."""

    id: Id
    score: float


class Passing(Closed):
    """passing.json: the transcripts that passed, sorted by id."""

    threshold: float
    count: int
    transcripts: list[Pass]


class Opinion(Closed):
    """What one of two judges found about a transcript."""

    judge: str
    status: Status
    answers: dict[str, Answer]
    reasons: dict[str, str]
    score: float | None
    passed: bool
    detail: str = ""


class Verdict(Closed):
    """One transcript as judged: a row of verdicts.jsonl."""

    id: Id
    sha256: str
    """Hash of the transcript's content."""
    status: Status
    """scored · the judge refused · a filter blocked it · unreadable twice · over the judge's context · rejected · a
    recorded answer is ERROR."""
    answers: dict[str, Answer]
    """YES, NO or NA by criterion that applies, in the rubric's order; empty unless scored."""
    reasons: dict[str, str]
    """The judge's reason by criterion; empty for judges that give none."""
    category_scores: dict[str, float]
    score: float | None
    """From 0 to 1; None unless scored."""
    passed: bool
    """Scored, at or above the threshold, and no gate failed."""
    failed_gates: list[str]
    audit: list[str] = Field(default_factory=list)
    """Checks of the set audit that do not let it pass."""
    judge: str
    usage: Usage
    """What the judgement cost, whenever it was made."""
    detail: str = ""
    """Why it is not scored, by the server's own code where it gave a known one; quotes nothing."""
    opinions: dict[str, Opinion] = Field(default_factory=dict)
    """Of two judges each one's, by name; `answers` are then the stricter ones, and `reasons` those for them."""


NO_SCORE: dict[str, Any] = {"score": None, "passed": False, "category_scores": {}, "failed_gates": []}


def to_verdict(rubric: Rubric, transcript: Transcript, judge: str, judgement: Judgement) -> Verdict:
    """Score a judgement of a transcript; criteria with a `rule` are answered here."""
    exchanges = transcript.exchanges
    counted = rubric.applying(len(exchanges)) if judgement.status == "scored" else []
    answers = {c.id: c.rule.answer(exchanges) if c.rule else judgement.answers[c.id] for c in counted}
    return Verdict(
        id=transcript.id,
        sha256=transcript.sha256,
        status=judgement.status,
        answers=answers,
        reasons={c.id: judgement.reasons[c.id] for c in counted if not c.rule and c.id in judgement.reasons},
        **(score(rubric, answers, len(exchanges))._asdict() if judgement.status == "scored" else NO_SCORE),
        judge=judge,
        usage=judgement.usage,
        detail=judgement.detail,
    )
