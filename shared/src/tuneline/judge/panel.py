"""Who judges: one judge, or two whose answers become one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tuneline.data.rubric import Rubric
from tuneline.data.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Ask
from tuneline.judge.agreement import SCALE
from tuneline.judge.card import JudgeCard
from tuneline.stage import Account


class Judge(Protocol):
    """Who judges. The rubrics it is given are what a judge is asked: without the criteria that have a `rule`."""

    @property
    def label(self) -> str:
        """Name for reports."""

    @property
    def offline(self) -> bool:
        """Whether it is for demonstration only: words are counted, nothing is understood."""

    def key(self, transcript: Transcript) -> str:
        """Return what identifies a transcript for this judge."""

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        """Return what an answer depends on apart from the transcript, without anything that only changes the pace."""

    def card(self, rubric: Rubric) -> JudgeCard:
        """Return what has to be known about it, of the questions of `rubric`."""

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        """Raise UserError when these cannot be judged, before anything is paid."""

    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> AbstractContextManager[Ask]:
        """Get ready to judge from `concurrency` threads; when it closes, no thread waits for an answer any more."""


def combine(ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> dict[str, Answer]:
    """Return the stricter of two answers to each criterion that both answered: NO before NA before YES."""
    return {name: min(ours[name], theirs[name], key=SCALE.index) for name in ours if name in theirs}
