"""Each verdict is wrong in at most 5 % of comparisons of every population; tests/bench/verdicts.py has the table."""

from __future__ import annotations

from math import sqrt

import pytest

from bench.verdicts import POPULATIONS, SAFETY_MARGIN, SIGNIFICANCE, Population, safe, verdicts

COMPARISONS = {6: 1000, 12: 1000, 32: 500, 100: 100}

pytestmark = pytest.mark.slow


def most(comparisons: int) -> float:
    """Return what five in a hundred may come to by chance: three standard errors more."""
    return SIGNIFICANCE + 3 * sqrt(SIGNIFICANCE * (1 - SIGNIFICANCE) / comparisons)


@pytest.mark.parametrize("personas", COMPARISONS)
@pytest.mark.parametrize("population", POPULATIONS, ids=lambda population: population.name)
def test_a_verdict_that_is_false_is_rarely_given(population: Population, personas: int) -> None:
    found = verdicts(population.draw, personas, COMPARISONS[personas])
    for false in population.false:
        assert found[false] <= most(COMPARISONS[personas]), false


@pytest.mark.parametrize("personas", COMPARISONS)
def test_a_gate_that_is_lost_rarely_holds_and_one_that_is_kept_is_rarely_broken(personas: int) -> None:
    comparisons = COMPARISONS[personas]
    assert safe(personas, comparisons, 0.0, SAFETY_MARGIN)[0] <= most(comparisons)
    assert safe(personas, comparisons, 0.1, 0.1)[1] <= most(comparisons)


def test_not_worse_is_within_reach_of_a_hundred_personas_that_are_all_alike() -> None:
    [alike] = [population for population in POPULATIONS if population.name == "constant judge"]
    assert [verdicts(alike.draw, personas, 1)["not worse"] for personas in (32, 100)] == [0, 1]
