"""The judge `heuristic`: applies the rubric's own rules. Offline and free; for demonstration and tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from tuneline.data.io import Closed
from tuneline.data.rubric import Rubric
from tuneline.data.text.rules import HEURISTIC_VERSION
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Ask, Judgement
from tuneline.errors import UserError
from tuneline.judge.card import JudgeCard
from tuneline.judge.prompt import questions_sha256
from tuneline.stage import Account, Json


class HeuristicConfig(Closed):
    """There is nothing to configure."""

    provider: Literal["heuristic"]


class HeuristicJudge:
    """Answers each criterion with its `heuristic` rule."""

    label = "heuristic (offline, for demonstration)"
    offline = True

    def key(self, transcript: Transcript) -> str:
        return transcript.sha256

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        rules = [[c.id, c.heuristic.model_dump(mode="json") if c.heuristic else None] for c in rubric.criteria]
        return ("heuristic", str(HEURISTIC_VERSION), hashlib.sha256(json.dumps(rules).encode()).hexdigest())

    def card(self, rubric: Rubric) -> JudgeCard:
        settings: dict[str, Json] = {"version": HEURISTIC_VERSION}
        asked = questions_sha256(rubric)
        return JudgeCard(
            label=self.label, provider="heuristic", family="rules", questions_sha256=asked, settings=settings
        )

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        if without := [c.id for c in rubric.criteria if c.heuristic is None]:
            raise UserError(
                f"The provider `heuristic` needs a rule for each criterion; these have no `heuristic:` in the rubric: "
                f"{', '.join(without)}. Add rules, or use another provider."
            )

    @contextmanager
    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> Iterator[Ask]:
        rules = {c.id: c.heuristic for c in rubric.criteria if c.heuristic}

        def ask(transcript: Transcript, again: bool) -> Judgement:
            answers = {name: rule.answer(transcript.exchanges) for name, rule in rules.items()}
            return Judgement(status="scored", answers=answers)

        yield ask
