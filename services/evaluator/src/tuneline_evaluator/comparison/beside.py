"""What stands beside the score and the win rate: both where answers are about as long, and what could be seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tuneline.data.paired.effects import Range
from tuneline.data.paired.planning import power_at
from tuneline.data.paired.statistics import NO_SPREAD, bounded_interval, t_test
from tuneline_evaluator.comparison.effects import LengthControl, LengthMatched, PowerAt
from tuneline_evaluator.comparison.scores import Scored, pairs, score

SAME_LENGTH = 1.25
"""Ratio up to which the mean answers of two arms are about as long."""

DIFFERENCES = (0.03, 0.05, 0.10)
"""True differences of which the power is told."""

RIDGE = 1e-3
RESAMPLES = 2_000
AT_ONCE = 1_000_000
"""Weights of resampled prompts in memory."""
ROUNDS, STEP, DONE, MOST = 60, 2.0, 1e-9, 30.0

Floats = NDArray[np.float64]


def length_matched(scored: Sequence[Scored], significance: float) -> LengthMatched | None:
    """Return the difference over those personas or prompts alone whose answers are about as long in both arms."""
    lengths: dict[tuple[str, str], list[int]] = defaultdict(list)
    for item in scored:
        talk = item.conversation
        lengths[talk.persona, talk.arm] += [len(exchange.assistant) for exchange in talk.exchanges]
    rows = pairs(scored, score)
    if not rows:
        return None
    ratios = {row.persona: _ratio(lengths[row.persona, "base"], lengths[row.persona, "finetuned"]) for row in rows}
    found = np.array([row.difference for row in rows if 1 / SAME_LENGTH <= ratios[row.persona] <= SAME_LENGTH])
    interval = t_test(found, significance).interval if len(found) else None
    return LengthMatched(
        personas=len(found), of=len(rows), median_ratio=float(np.median([*ratios.values()])),
        mean_difference=float(found.mean()) if len(found) else None,
        interval=interval or (bounded_interval(found, significance) if len(found) > 1 else None),
    )  # fmt: skip


def _ratio(base: Sequence[int], finetuned: Sequence[int]) -> float:
    return (fmean(finetuned) + 1) / (fmean(base) + 1)


def power_rows(differences: Sequence[float], significance: float) -> list[PowerAt]:
    """Return how likely the rule would have seen true differences, with so many and as they vary; none without any."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if spread < NO_SPREAD:
        return []
    n = len(differences)
    return [PowerAt(difference=one, power=power_at(one / spread, n, significance)) for one in DIFFERENCES]


def length_control(
    scores: Sequence[float], lengths: Sequence[float], significance: float, raw: Range | None
) -> LengthControl | None:
    """Compare the win rate with that at equal length; `lengths` are finetuned − base, in characters, one per score.

    `raw` is the interval of the raw win rate, less one half. None without scores.
    """
    if not scores:
        return None
    y, d = np.asarray(scores, dtype=float), np.asarray(lengths, dtype=float)
    x = np.tanh(d / (sqrt(float((d * d).mean())) or 1.0))
    whole = fitted(x, y, np.full((1, len(y)), 1 / len(y)))[0]
    low, high = np.quantile(_resampled(x, y), (significance / 2, 1 - significance / 2))
    interval = Range(low=float(low), high=float(high))
    gains, loses = (raw.low > 0, raw.high < 0) if raw else (False, False)
    unequal = (d != 0) & (y != 0.5)
    return LengthControl(
        win_rate=_rate(whole[0]), interval=interval, phi=float(whole[1]), mean_difference=float(d.mean()),
        longer=int(((d > 0) == (y > 0.5))[unequal].sum()), of=int(unequal.sum()),
        by_length=(gains and interval.low <= 0.5) or (loses and interval.high >= 0.5),
    )  # fmt: skip


def fitted(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return θ and φ of each row of `weights` (samples × prompts, each row sums to 1), by Newton's method."""
    found = np.zeros((len(weights), 2))
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-(found[:, :1] + found[:, 1:] * x)))
        off, bend = weights * (y - chance), weights * chance * (1 - chance)
        slope = np.stack([off.sum(axis=1), off @ x - RIDGE * found[:, 1]], axis=1)
        a, b, c = bend.sum(axis=1) + 1e-12, bend @ x, bend @ (x * x) + RIDGE
        det = a * c - b * b
        step = np.stack([c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], axis=1) / det[:, None]
        found = (found + step.clip(-STEP, STEP)).clip(-MOST, MOST)
        if np.abs(step).max() < DONE:
            break
    return found


def _resampled(x: Floats, y: Floats) -> Floats:
    """Return win rates at equal length of so many bootstrap samples."""
    n, chance, found = len(y), np.random.default_rng(0), list[Floats]()
    left = RESAMPLES
    while left > 0:
        some = min(left, max(1, AT_ONCE // n))
        weights = chance.multinomial(n, np.full(n, 1 / n), some) / n
        found.append(1 / (1 + np.exp(-fitted(x, y, weights)[:, 0])))
        left -= some
    return np.concatenate(found)


def _rate(theta: float) -> float:
    return float(1 / (1 + np.exp(-theta)))
