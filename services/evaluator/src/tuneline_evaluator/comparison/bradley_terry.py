"""How far apart models are by what was preferred: Bradley and Terry's model on the scale of Elo.

Two arms have a closed form, 400·log10 of the odds. More of them are fitted together, with the first one fixed. A rating
that is carried on from game to game is none of this: it depends on their order (31 wins of 50 end anywhere between 1437
and 1630).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tuneline_evaluator.comparison.effects import Gap

RESAMPLES = 10_000
CENTRE = 1500.0
SCALE = 400 / log(10)
"""Points of Elo for one unit of log-odds."""
AT_ONCE = 2_000_000
"""Weights of resampled prompts in memory."""
ROUNDS, STEP, DONE = 100, 2.0, 1e-9

Floats = NDArray[np.float64]


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p that wins and losses are equally likely; ties are left out."""
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def gap_of(win_rate: Floats, n: int) -> Floats:
    """Return the gap in points of Elo; a rate of 0 or 1 of n is moved by half an observation."""
    moved = np.clip(win_rate, 0.5 / n, 1 - 0.5 / n)
    return np.asarray(SCALE * np.log(moved / (1 - moved)))


def gap(scores: Sequence[float], significance: float) -> Gap | None:
    """Return the gap of two arms and its bootstrap interval; `scores` are 1, 0.5, 0 or between, one per prompt.

    Where nobody lost, or nobody won, a bootstrap knows no other outcome: then the one end is Clopper and Pearson's
    bound of the share of decided prompts, and the other is not known.
    """
    s, n = np.asarray(scores, dtype=float), len(scores)
    if not n:
        return None
    found = float(gap_of(s.mean(), n))
    low, high = _ends(s, significance)
    return Gap(gap=found, low=low, high=high, base=CENTRE - found / 2, finetuned=CENTRE + found / 2)


def _ends(s: Floats, significance: float) -> tuple[float | None, float | None]:
    n, d = len(s), s - 0.5
    up, down = int((d > 0).sum()), int((d < 0).sum())
    if up and down:
        values, counts = np.unique(s, return_counts=True)
        drawn = np.random.default_rng(0).multinomial(n, counts / n, RESAMPLES)
        low, high = np.quantile(gap_of(drawn @ values / n, n), (significance / 2, 1 - significance / 2))
        return float(low), float(high)
    if not up + down:
        return None, None
    at_least = float(stats.binomtest(up + down, up + down).proportion_ci(1 - significance, "exact").low)
    bound = float(gap_of(0.5 + np.abs(d).sum() * (2 * at_least - 1) / n, n))
    return (bound, None) if up else (None, -bound)


class Rating(NamedTuple):
    """One of several arms: its rating, and its gap to the first one with both ends."""

    rating: float
    gap: float
    low: float
    high: float


def ratings(
    scores: Floats, pairs: Sequence[tuple[int, int]], arms: int, significance: float, resamples: int = RESAMPLES
) -> list[Rating]:
    """Fit the ratings of several arms at once; the first is fixed at 1500.

    `scores` has a row per prompt and a column per pair of arms (i, j): 1 where i was preferred, 0 where j was, NaN
    where nobody said. Every arm must have met another. The intervals are bootstrapped by prompt.
    """
    there, found = (~np.isnan(scores)).astype(float), np.nan_to_num(scores)
    whole = _fitted(found.sum(axis=0)[None], there.sum(axis=0)[None], pairs, arms)[0]
    n, chance, drawn = len(scores), np.random.default_rng(0), list[Floats]()
    left = resamples
    while left > 0:
        some = min(left, max(1, AT_ONCE // n))
        weights = chance.multinomial(n, np.full(n, 1 / n), some).astype(float)
        drawn.append(_fitted(weights @ found, weights @ there, pairs, arms))
        left -= some
    low, high = np.quantile(np.concatenate(drawn), (significance / 2, 1 - significance / 2), axis=0)
    return [
        Rating(CENTRE + float(one), float(one), float(a), float(b)) for one, a, b in zip(whole, low, high, strict=True)
    ]


def _fitted(won: Floats, played: Floats, pairs: Sequence[tuple[int, int]], arms: int) -> Floats:
    """Return the gaps to the first arm, (samples × arms), by Newton's method on the log-likelihood, which is concave.

    A pair without a win on one side is moved by half an observation, as for two arms.
    """
    won = np.where(played > 0, np.clip(won, 0.5, np.maximum(played - 0.5, 0.5)), 0.0)
    sides = np.zeros((len(pairs), arms))
    for row, (i, j) in enumerate(pairs):
        sides[row, i], sides[row, j] = 1.0, -1.0
    sides = sides[:, 1:]  # the first arm is fixed
    strength = np.zeros((len(won), arms - 1))
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-strength @ sides.T))
        slope = (won - played * chance) @ sides
        bend = np.einsum("sp,pi,pj->sij", played * chance * (1 - chance), sides, sides) + 1e-9 * np.eye(arms - 1)
        step = np.linalg.solve(bend, slope[..., None])[..., 0].clip(-STEP, STEP)
        strength += step
        if np.abs(step).max() < DONE:
            break
    return SCALE * np.concatenate([np.zeros((len(won), 1)), strength], axis=1)
