"""The power that is planned with is that of the rule that decides: t test and sign-flip test together."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from tuneline.data.paired.planning import (
    POWER,
    Spread,
    Trial,
    detectable_shift,
    people_for,
    power_at,
    spread_limits,
    spread_of,
)
from tuneline.data.paired.statistics import sign_flip, t_test

ALPHA = 0.05


def found(shift: float, n: int, times: int) -> float:
    """Return how often both tests reject, by drawing samples."""
    chance = np.random.default_rng(n)
    samples = [chance.normal(shift, 1, n) / 20 for _ in range(times)]  # in twentieths, within the scale
    return float(np.mean([(t_test(d, ALPHA).t_p or 1) < ALPHA and sign_flip(d).p < ALPHA for d in samples]))


@pytest.mark.parametrize("n", [6, 7, 8, 12, 20])
def test_stated_power_is_simulated_power_within_three_points(n: int) -> None:
    shift = detectable_shift(n, ALPHA)
    assert shift is not None
    for stated in (shift, shift / 2):
        assert found(stated, n, 2000) == pytest.approx(power_at(stated, n, ALPHA), abs=0.03)
    assert power_at(shift, n, ALPHA) == pytest.approx(POWER, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 12, 30])
def test_two_thousand_nulls_are_called_a_difference_in_five_per_cent_at_most(n: int) -> None:
    assert found(0.0, n, 2000) <= ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / 2000)


def test_five_personas_show_nothing_and_so_have_no_power() -> None:
    assert power_at(100.0, 5, ALPHA) == 0
    assert detectable_shift(5, ALPHA) is None


def test_as_many_people_as_planned_are_enough_and_one_fewer_is_not() -> None:
    n = people_for(0.05, 0.10, ALPHA)
    assert n is not None
    more, fewer = detectable_shift(n, ALPHA), detectable_shift(n - 1, ALPHA)
    assert more is not None
    assert fewer is not None
    assert more * 0.10 <= 0.05 < fewer * 0.10
    assert people_for(0.0001, 1.0, ALPHA) is None
    assert people_for(0.05, 0.0, ALPHA) == 6


def test_trials_take_away_only_what_varies_from_trial_to_trial() -> None:
    assert Spread(0.1, 0.2).of(1) == pytest.approx(sqrt(0.05))
    assert Spread(0.1, 0.2).of(1_000_000) == pytest.approx(0.1, abs=1e-4)


def test_a_spread_of_few_people_is_known_badly() -> None:
    low, high = spread_limits(0.1, 6)
    assert (low, high) == pytest.approx((0.0624, 0.2453), abs=1e-3)


def test_what_varies_among_people_is_told_from_what_varies_from_trial_to_trial() -> None:
    chance = np.random.default_rng(0)
    rows = []
    for number in range(400):
        person = chance.normal(0, 0.10)
        for trial in range(3):
            for arm, gain in (("base", 0.0), ("finetuned", person)):
                score = 0.5 + gain + chance.normal(0, 0.05)
                rows.append(Trial(arm=arm, persona=f"p{number}", trial=trial, score=score))
    found = spread_of(rows)
    assert found is not None
    assert found.personas == 400
    assert found.spread.between == pytest.approx(0.10, abs=0.01)
    assert found.spread.within == pytest.approx(0.05 * sqrt(2), abs=0.005)


@pytest.mark.parametrize("arms", [[], ["base"], ["base", "finetuned"]])
def test_one_person_or_one_arm_shows_no_spread(arms: list[str]) -> None:
    assert spread_of([Trial(arm=arm, persona="p", trial=0, score=0.5) for arm in arms]) is None


def test_what_has_no_score_counts_for_nothing_and_equal_scores_have_no_spread() -> None:
    rows = [Trial(arm=arm, persona=f"p{n}", trial=0, score=0.5) for n in range(3) for arm in ("base", "finetuned")]
    none = [Trial(arm=arm, persona="q", trial=0, score=None) for arm in ("base", "finetuned")]
    assert spread_of(rows + none) == (Spread(0.0, 0.0), 3)
