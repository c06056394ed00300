"""The statistics of paired differences, one per persona.

The persona is the unit: trials of one persona are repeated measurements of the same simulated user, so they are
averaged first and never counted as evidence of their own. All tests here are two-sided unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from tuneline_evaluator.comparison.figures import Effect, Range

POWER = 0.8
EXACT_LIMIT = 40
"""Differences up to which every sign assignment is counted; two lists of 2^20 sums then take half a second."""
RESAMPLES = 99_999
NO_SPREAD = 1e-12
"""Scores are shares, so what is below this is rounding."""


class SignFlip(NamedTuple):
    """A sign-flip test: its p value, how it was found and from how many sign assignments."""

    p: float
    method: Literal["exact", "random"]
    resamples: int


class TTest(NamedTuple):
    """A paired t test; the interval needs two differences, all else needs differences that vary."""

    interval: Range | None = None
    t: float | None = None
    p: float | None = None
    d_z: float | None = None
    detectable: float | None = None


def effect(differences: Sequence[float], significance: float) -> Effect:
    """Describe the mean of `differences` (finetuned − base, one per persona); fields that n cannot give are None."""
    d = np.asarray(differences, dtype=float)
    n = len(d)
    tested, flipped = t_test(d, significance), sign_flip(d) if n else None
    return Effect(
        personas=n,
        mean_difference=float(d.mean()) if n else None,
        interval=tested.interval,
        degrees_of_freedom=n - 1 if n > 1 else None,
        t=tested.t,
        t_p=tested.p,
        sign_flip_p=flipped.p if flipped else None,
        sign_flip_method=flipped.method if flipped else None,
        sign_flip_resamples=flipped.resamples if flipped else None,
        d_z=tested.d_z,
        detectable=tested.detectable,
        leave_one_out=leave_one_out(d),
    )


def t_test(differences: NDArray[np.float64], significance: float) -> TTest:
    """Test that the mean difference is 0, with df = n − 1, and give its interval at 1 − `significance`."""
    n = len(differences)
    if n < 2:
        return TTest()
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if spread < NO_SPREAD:
        return TTest(interval=Range(low=mean, high=mean))
    error = spread / sqrt(n)
    half = float(stats.t.isf(significance / 2, n - 1)) * error
    return TTest(
        interval=Range(low=mean - half, high=mean + half),
        t=mean / error,
        p=float(2 * stats.t.sf(abs(mean / error), n - 1)),
        d_z=mean / spread,
        detectable=detectable_difference(spread, n, significance),
    )


def sign_flip(differences: NDArray[np.float64]) -> SignFlip:
    """Test that differences are symmetric around 0 by flipping their signs.

    Up to EXACT_LIMIT differences other than 0 every one of the 2^n assignments counts; the result is that of
    `scipy.stats.permutation_test(permutation_type="samples", n_resamples=inf)`, which lists them one by one and so
    ends at about 20. Above, it is that function with RESAMPLES seeded resamples.
    """
    d = differences[np.abs(differences) > NO_SPREAD]  # a flipped 0 is a 0: it doubles both counts, not their ratio
    if len(d) <= EXACT_LIMIT:
        return SignFlip(_exact_share(d), "exact", 2 ** len(d))
    test = stats.permutation_test(
        (d,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=10_000,
        rng=np.random.default_rng(0),
    )
    return SignFlip(float(test.pvalue), "random", RESAMPLES)


def detectable_difference(spread: float, n: int, significance: float) -> float:
    """Return the true mean difference that a t test of `n` differences with this spread finds with POWER.

    The power at a shift of δ / (spread / √n) is the chance that a noncentral t leaves ±t(1 − significance / 2): a
    normal tail averaged over the sample's own estimate of the spread. SciPy's `nct` gives NaN for few personas.
    """
    critical = float(stats.t.isf(significance / 2, n - 1))
    limits = critical * np.sqrt(stats.chi2.ppf((np.arange(2_000) + 0.5) / 2_000, n - 1) / (n - 1))

    def lack(shift: float) -> float:
        return float((stats.norm.sf(limits - shift) + stats.norm.cdf(-limits - shift)).mean()) - POWER

    high = critical
    while lack(high) < 0:
        high *= 2
    return float(optimize.brentq(lack, 0, high)) * spread / sqrt(n)


def leave_one_out(differences: NDArray[np.float64]) -> Range | None:
    """Return the lowest and highest mean when one persona is left out; None below two personas."""
    n = len(differences)
    if n < 2:
        return None
    means = (differences.sum() - differences) / (n - 1)
    return Range(low=float(means.min()), high=float(means.max()))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm 1979): step-down, each at least as large as the one before it."""
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def paired_share_bounds(gained: int, lost: int, n: int, significance: float) -> Range:
    """Return the one-sided score bounds of the difference of two paired shares (Tango 1998, Statistics in Medicine 17).

    Of `n` pairs, `gained` hold only in the finetuned arm and `lost` only in the base arm; each bound alone has the
    confidence 1 − significance. Unlike a t bound it does not shrink to nothing when no pair differs.
    """
    z = float(stats.norm.isf(significance))

    def score(delta: float) -> float:
        b = (2 * n - gained + lost) * delta - gained - lost
        root = sqrt(max(0.0, b * b + 8 * n * lost * delta * (1 - delta)))  # rounding can take it just below 0
        share = (root - b) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        return float(gained - lost - n * delta) / sqrt(variance) if variance > 0 else 0.0

    nearly = 1 - 1e-9  # the score is 0 / 0 at ±1
    middle = min(max((gained - lost) / n, -nearly), nearly)
    low = optimize.brentq(lambda x: score(x) - z, -nearly, middle) if score(-nearly) > z else -1.0
    high = optimize.brentq(lambda x: score(x) + z, middle, nearly) if score(nearly) < -z else 1.0
    return Range(low=float(low), high=float(high))


def fisher(base: int, base_total: int, finetuned: int, finetuned_total: int) -> float:
    """Return the two-sided p of Fisher's exact test that two shares are equal; 1 where an arm has no conversation."""
    table = [[base, base_total - base], [finetuned, finetuned_total - finetuned]]
    return float(stats.fisher_exact(table).pvalue)


def _exact_share(d: NDArray[np.float64]) -> float:
    """Return the share of sign assignments whose sum is at least as far from 0 as the observed one.

    Every assignment joins one half sum of the first differences with one of the last, so counting pairs above a
    threshold in sorted half sums needs 2^(n/2) steps instead of 2^n. The tolerance makes ties count as ties.
    """
    threshold = abs(float(d.sum())) - 1e-10 * float(np.abs(d).sum())
    if threshold <= 0:
        return 1.0
    first, last = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
    above = int((len(last) - np.searchsorted(last, threshold - first)).sum())
    return 2.0 * above / 2.0 ** len(d)


def _signed_sums(d: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums - value, sums + value])
    return sums
