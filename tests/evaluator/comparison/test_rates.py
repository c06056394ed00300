"""Rates by arm, counted in conversations and answers, with intervals by persona."""

from __future__ import annotations

import pytest

from kit.evaluator_parts import answers, talked
from kit.judge_parts import SHORT_RUBRIC as RUBRIC
from tuneline.data.verdicts import Status
from tuneline_evaluator.comparison.effects import RateGap
from tuneline_evaluator.comparison.rates import fault_gaps, rate_gaps, worse_rates
from tuneline_evaluator.comparison.scores import JudgedConversation, arm_summary

LOOP = "You have to clean it. " * 12
GERMAN = "Bitte spülen Sie den Schwimmer unter warmem Wasser ab, bis er sich bewegt, und setzen Sie ihn wieder ein."
ENGLISH = "Please rinse the float under warm water until it moves, then put it back where it was before."


def item(number: int, arm: str, answer: str, status: Status = "scored") -> JudgedConversation:
    asked = "There is a puddle of water under my coffee machine, what shall I do about it?"
    return talked(f"p{number}", arm, RUBRIC, answers(RUBRIC), status=status, asked=asked, answered=answer)


def rows(judged: list[JudgedConversation]) -> dict[str, RateGap]:
    arms = arm_summary(judged, "base"), arm_summary(judged, "finetuned")
    arms = tuple(arm.model_copy(update={"answers": arm.conversations}) for arm in arms)  # type: ignore[assignment]
    return {gap.name: gap for gap in [*rate_gaps(*arms, 0.05, judged), *fault_gaps(*arms, 0.05, judged)]}


@pytest.mark.parametrize(
    ("answer", "name"),
    [(LOOP, "answers that repeat themselves"), (GERMAN, "answers in another language than the user’s")],
)
def test_what_code_sees_in_answers_is_counted_by_arm_with_an_interval_by_persona(answer: str, name: str) -> None:
    judged = [item(n, "base", ENGLISH) for n in range(20)]
    judged += [item(n, "finetuned", answer if n < 8 else ENGLISH) for n in range(20)]
    found = rows(judged)[name]
    assert (found.base, found.finetuned, found.of_base, found.of_finetuned) == (0, 8, 20, 20)
    assert found.interval is not None
    assert 0 < found.interval.low < 0.4 < found.interval.high < 1
    assert [gap.name for gap in worse_rates([*rows(judged).values()])] == [name]


def test_a_rate_of_nought_in_both_arms_has_an_interval_of_some_width() -> None:
    judged = [item(n, arm, ENGLISH) for n in range(20) for arm in ("base", "finetuned")]
    for found in rows(judged).values():
        assert found.interval is not None
        assert -0.2 < found.interval.low < 0 < found.interval.high < 0.2, found.name


def test_lost_conversations_have_one_too_and_a_single_persona_has_none() -> None:
    judged = [item(n, "base", ENGLISH) for n in range(20)]
    judged += [item(n, "finetuned", ENGLISH, "refused" if n < 7 else "scored") for n in range(20)]
    found = rows(judged)["refused or blocked by the judge"]
    assert (found.finetuned, found.differs) == (7, True)
    assert found.interval is not None
    assert found.interval.low > 0
    assert rows(judged[:1] + judged[20:21])["refused or blocked by the judge"].interval is None
