"""What stands beside the score: equal length, and power."""

from __future__ import annotations

import pytest

from kit.evaluator_parts import answers, talked
from kit.judge_parts import SHORT_RUBRIC as RUBRIC
from tuneline.data.conversations import Said
from tuneline_evaluator.comparison.beside import length_matched, power_rows
from tuneline_evaluator.comparison.scores import Scored, scored_of

ALL, HALF = answers(RUBRIC), answers(RUBRIC, "POLITE")


def scored(longer: list[float]) -> list[Scored]:
    """The fine-tuned model meets more with everybody; its answers are so many times as long."""
    found = []
    for number, ratio in enumerate(longer):
        for arm, given, length in (("base", HALF, 100), ("finetuned", ALL, round(100 * ratio))):
            item = talked(f"p{number}", arm, RUBRIC, given)
            said = [Said(role="user", content="?"), Said(role="assistant", content="x" * length)]
            found.append(item._replace(conversation=item.conversation.model_copy(update={"messages": said})))
    return scored_of(found)


def test_only_those_with_answers_of_about_one_length_count_and_their_interval_has_a_width() -> None:
    found = length_matched(scored([1.0, 1.2, 0.85, 3.0, 0.5]), 0.05)
    assert found is not None
    assert (found.personas, found.of, found.mean_difference) == (3, 5, 0.5)
    assert found.interval is not None
    assert -1 <= found.interval.low < 0.5 < found.interval.high <= 1


def test_where_lengths_never_meet_nothing_is_claimed() -> None:
    found = length_matched(scored([3.0, 4.0]), 0.05)
    assert found is not None
    assert (found.personas, found.mean_difference, found.interval) == (0, None, None)
    assert found.median_ratio > 3
    assert length_matched([], 0.05) is None


def test_power_grows_with_the_difference_and_is_nought_where_nothing_can_be_shown() -> None:
    few, many = ([0.1, -0.1] * n for n in (2, 20))
    assert [row.power for row in power_rows(few, 0.05)] == [0, 0, 0]
    small, middle, large = (row.power for row in power_rows(many, 0.05))
    assert small < middle < large
    assert large == pytest.approx(1.0, abs=0.01)
    assert power_rows([0.1] * 9, 0.05) == []
