"""What stands beside the score and the win rate: both at equal length, and power."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kit.evaluator_parts import answers, talked
from kit.judge_parts import SHORT_RUBRIC as RUBRIC
from tuneline.data.paired.effects import Range
from tuneline_evaluator.comparison.beside import length_control, length_matched, power_rows
from tuneline_evaluator.comparison.scores import Scored, scored_of

ALL, HALF = answers(RUBRIC), answers(RUBRIC, "POLITE")


def scored(longer: list[float]) -> list[Scored]:
    """The fine-tuned model meets more with everybody; its answers are so many times as long."""
    found = []
    for number, ratio in enumerate(longer):
        for arm, given, length in (("base", HALF, 100), ("finetuned", ALL, round(100 * ratio))):
            found.append(talked(f"p{number}", arm, RUBRIC, given, asked="?", answered="x" * length))
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


def test_a_judge_that_likes_length_only_is_found_out() -> None:
    chance, scores, lengths = np.random.default_rng(1), list[float](), list[float]()
    for _ in range(200):
        base = int(chance.integers(40, 160))
        longer = base + int(chance.normal(40, 40)) - base
        chosen = 1 / (1 + math.exp(-2.0 * math.tanh(longer / 60)))
        scores.append(float(chance.random() < chosen))
        lengths.append(longer)
    found = length_control(scores, lengths, 0.05, Range(low=0.1, high=0.3))
    assert found is not None
    assert sum(scores) / 200 == pytest.approx(0.695)
    assert found.win_rate == pytest.approx(0.550, abs=0.001)
    assert found.phi == pytest.approx(1.46, abs=0.005)
    assert found.by_length and found.interval.low < 0.5 < found.interval.high
    assert found.longer / found.of > 0.6


def test_at_equal_lengths_the_win_rate_stays_as_it_is() -> None:
    found = length_control([1.0, 1.0, 0.0] * 10, [0.0] * 30, 0.05, Range(low=0.01, high=0.3))
    assert found is not None
    assert [found.win_rate, found.phi] == pytest.approx([0.6667, 0], abs=0.0001)
    assert found.of == 0


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_what_is_always_preferred_has_a_rate_near_its_own(score: float) -> None:
    found = length_control([score] * 20, [float(place) for place in range(20)], 0.05, None)
    assert found is not None and found.win_rate == pytest.approx(score, abs=0.01) and not found.by_length
    assert length_control([], [], 0.05, None) is None


def test_a_gain_that_is_a_loss_at_equal_length_is_one_by_length() -> None:
    scores, lengths = [1.0] * 120 + [0.0] * 80, [60.0 + place % 7 for place in range(120)] + [-5.0, 30.0] * 40
    found = length_control(scores, lengths, 0.05, Range(low=0.03, high=0.17))
    assert found is not None and found.interval.high < 0.5 and found.by_length


def test_a_gain_at_any_length_is_none_by_length() -> None:
    chance = np.random.default_rng(3)
    scores, lengths = (chance.random(200) < 0.7).astype(float), chance.normal(0, 50, 200)
    found = length_control(list(scores), list(lengths), 0.05, Range(low=0.1, high=0.3))
    assert found is not None and not found.by_length and found.interval.low > 0.5
