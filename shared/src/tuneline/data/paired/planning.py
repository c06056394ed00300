"""How much a comparison can show: the power of the rule that decides, and how many people it takes.

A difference counts as shown where the t test and the sign-flip test both reject, so the power is that of both. Effects
here are in standard deviations of a difference per person, unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import ceil, log2, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import optimize, stats

from tuneline.data.paired.power import enough_personas

POWER = 0.8
FINE = 100
"""Sign assignments that may be as extreme as the observed one above which the sign-flip test costs no power."""
MOST = 1_000_000
"""People beyond whom nobody plans."""


class Spread(NamedTuple):
    """How a difference varies, as shares of the scale."""

    between: float
    """Standard deviation among people of what the difference would be with endless trials."""
    within: float = 0.0
    """Standard deviation of the difference from trial to trial with one person."""

    def of(self, trials: int) -> float:
        """Return the standard deviation of a person's mean difference over so many trials."""
        return sqrt(self.between**2 + self.within**2 / trials)


class Trial(BaseModel):
    """One judged conversation, as far as it matters here: a row of the evaluator's `verdicts.jsonl`."""

    arm: str
    persona: str
    trial: int
    score: float | None


class Seen(NamedTuple):
    """How differences varied, and among how many people."""

    spread: Spread
    personas: int


def spread_of(rows: Iterable[Trial]) -> Seen | None:
    """Return how the differences of base and finetuned varied; None below two people with both.

    The variance within is pooled over people and arms with several trials; that between is what is left of the variance
    of mean differences, and at least 0. Without a second trial all counts as between.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row.score is not None and row.arm in ("base", "finetuned"):
            found.setdefault(row.persona, {}).setdefault(row.arm, []).append(row.score)
    both = [(arms["base"], arms["finetuned"]) for arms in found.values() if len(arms) == 2]
    if len(both) < 2:
        return None
    whole = float(np.var([np.mean(finetuned) - np.mean(base) for base, finetuned in both], ddof=1))
    within, noise = 0.0, 0.0
    for side in (0, 1):
        squares = sum(float(np.var(pair[side])) * len(pair[side]) for pair in both)
        freedom = sum(len(pair[side]) - 1 for pair in both)
        variance = squares / freedom if freedom else 0.0
        within += variance
        noise += variance * float(np.mean([1 / len(pair[side]) for pair in both]))
    return Seen(Spread(sqrt(max(0.0, whole - noise)), sqrt(within)), len(both))


def power_at(shift: float, n: int, significance: float) -> float:
    """Return the chance that `n` differences with the true mean `shift` are found to differ from 0."""
    if n < enough_personas(significance):
        return 0.0
    if _is_fine(n, significance):
        return _t_power(shift, n, significance)
    return float((_least_shifts(n, significance) <= abs(shift)).mean())


@cache
def detectable_shift(n: int, significance: float) -> float | None:
    """Return the true mean of `n` differences that is found with POWER; None where none ever is."""
    if n < enough_personas(significance):
        return None
    if _is_fine(n, significance):
        high = 10 * float(stats.t.isf(significance / 2, n - 1)) / sqrt(n)
        return float(optimize.brentq(lambda shift: _t_power(shift, n, significance) - POWER, 0, high))
    return float(np.quantile(_least_shifts(n, significance), POWER))


def people_for(difference: float, spread: float, significance: float) -> int | None:
    """Return the fewest people with whom a true `difference` is found with POWER; both in the same unit.

    None where it would take more than MOST.
    """

    def enough(n: int) -> bool:
        least = detectable_shift(n, significance)
        return least is not None and least * spread <= difference

    low = high = enough_personas(significance)
    while not enough(high):
        low, high = high + 1, 2 * high
        if high > MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def spread_limits(spread: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a standard deviation that `n` normal values gave."""
    low, high = stats.chi2.ppf([0.975, 0.025], n - 1)
    return spread * sqrt((n - 1) / low), spread * sqrt((n - 1) / high)


def _is_fine(n: int, significance: float) -> bool:
    """Tell whether so many sign assignments may be extreme that both tests agree within a point of power."""
    return log2(significance / FINE) + n - 1 > 0


def _t_power(shift: float, n: int, significance: float) -> float:
    """Return the power of the two-sided t test: the mean over the spreads that n normal values may show."""
    critical = float(stats.t.isf(significance / 2, n - 1))
    limits = critical * np.sqrt(stats.chi2.ppf((np.arange(2_000) + 0.5) / 2_000, n - 1) / (n - 1))
    middle = shift * sqrt(n)
    return float((stats.norm.sf(limits - middle) + stats.norm.cdf(-limits - middle)).mean())


@cache
def _least_shifts(n: int, significance: float) -> NDArray[np.float64]:
    """Return, for simulated samples of `n` normal differences, the shift from which both tests reject.

    A t test rejects beyond a multiple of the spread, a sign-flip test beyond an order statistic of the means of all
    subsets (Hartigan 1969); so each sample has such a shift.
    """
    chance = np.random.default_rng(0)
    samples = chance.standard_normal((2_000, n))
    subsets = np.arange(1, 2**n) if n <= 11 else chance.choice(2**n - 1, 2_047, replace=False) + 1
    chosen = (subsets[:, None] >> np.arange(n) & 1).astype(float)
    above = ceil(significance / 2 * (len(subsets) + 1) - 1e-9) - 2  # subsets that may lie above the observed mean
    flips = np.partition(-(samples @ chosen.T) / chosen.sum(axis=1), -above - 1, axis=1)[:, -above - 1]
    critical = float(stats.t.isf(significance / 2, n - 1))
    tested = critical * samples.std(axis=1, ddof=1) / sqrt(n) - samples.mean(axis=1)
    found: NDArray[np.float64] = np.maximum(flips, tested)
    return found
