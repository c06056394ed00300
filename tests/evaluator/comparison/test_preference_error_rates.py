"""What is said of a preference is wrong as often as it may be; tests/bench/preferences.py has the table."""

from __future__ import annotations

import pytest

from bench.preferences import by_length, power, wrong
from bench.verdicts import spread, verdicts

pytestmark = pytest.mark.slow


def test_of_two_thousand_null_comparisons_on_prompts_each_rule_finds_a_difference_in_about_five_of_a_hundred() -> None:
    found = wrong(200, 0.0)
    assert 0.04 <= found["verdict: better or worse"] <= 0.06
    assert 0.04 <= found["gap: interval without 0"] <= 0.06
    # Exact tests of counts cannot reach five in a hundred to the dot: they stay below, and never above.
    assert 0.025 <= found["sign test of wins and losses"] <= 0.05
    assert 0.025 <= found["McNemar's test of a trait"] <= 0.05


def test_of_two_thousand_null_comparisons_on_personas_about_five_of_a_hundred_find_a_difference() -> None:
    found = verdicts(spread(0, 0.10), 32, 2000)
    assert 0.04 <= found["better"] + found["worse"] <= 0.06


def test_a_judge_that_likes_length_makes_winners_that_equal_length_unmakes() -> None:
    raw, controlled = by_length(200, 100)
    assert raw > 0.6 and controlled <= 0.12


def test_the_stated_power_is_that_of_the_verdict() -> None:
    assert power(200, 1000) == pytest.approx((0.605, 0.8), abs=0.03)
    assert power(50, 1000) == pytest.approx((0.70, 0.8), abs=0.03)
