"""The statistics of paired differences, one per persona or prompt.

The persona is the unit: trials of one persona are repeated measurements of the same simulated user, so they are
averaged first and never counted as evidence of their own. All tests here are two-sided unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, signal, stats

from tuneline.data.paired.effects import Effect, Range
from tuneline.data.paired.planning import POWER, detectable_shift

EXACT_LIMIT = 40
"""Differences up to which every sign assignment is counted; two lists of 2^20 sums then take half a second."""
RESAMPLES = 99_999
AT_ONCE = 5_000_000
"""Signs in memory."""
MOST_STEPS, MOST_SUMS = 12, 200_000
"""Steps to the smallest difference, and to the largest sum, up to which sums are counted where there are more."""
LARGE_GAP = 0.10
"""Difference of two rates that counts even where a small sample cannot prove it."""
NO_SPREAD = 1e-12
"""Scores are shares, so what is below this is rounding."""
NO_WIDTH = 0.0005
"""Half a t interval that the report would show as nothing: differences that hardly vary are no certainty."""


class SignFlip(NamedTuple):
    """A sign-flip test: its p value, how it was found and from how many sign assignments."""

    p: float
    method: Literal["exact", "random"]
    resamples: int | None
    """None: all of them, which are too many to write down."""


class TTest(NamedTuple):
    """A paired t test; it needs differences that vary."""

    interval: Range | None = None
    t: float | None = None
    t_p: float | None = None
    d_z: float | None = None
    detectable: float | None = None


def effect(
    differences: Sequence[float], significance: float, *, unit: Literal["persona", "prompt"] = "persona"
) -> Effect:
    """Describe the mean of `differences` (finetuned − base, one per unit); fields that n cannot give are None."""
    d = np.asarray(differences, dtype=float)
    n = len(d)
    tested, flipped = t_test(d, significance), sign_flip(d) if n else None
    interval = tested.interval or (bounded_interval(d, significance) if n > 1 else None)
    return Effect(
        unit=unit,
        personas=n,
        mean_difference=float(d.mean()) if n else None,
        bound=min(interval.low if tested.interval else 1.0, lower_bound(d, significance)) if interval else None,
        degrees_of_freedom=n - 1 if n > 1 else None,
        sign_flip_p=flipped.p if flipped else None,
        sign_flip_method=flipped.method if flipped else None,
        sign_flip_resamples=flipped.resamples if flipped else None,
        **tested._replace(interval=interval)._asdict(),
        leave_one_out=leave_one_out(d),
    )


def t_test(differences: NDArray[np.float64], significance: float) -> TTest:
    """Test that the mean difference is 0, with df = n − 1, and give its interval at 1 − `significance`."""
    n = len(differences)
    if n < 2:
        return TTest()
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    error = spread / sqrt(n)
    half = float(stats.t.isf(significance / 2, n - 1)) * error
    if half < NO_WIDTH:
        return TTest()
    least = detectable_shift(n, significance)
    return TTest(
        interval=Range(low=max(mean - half, -1.0), high=min(mean + half, 1.0)),
        t=mean / error,
        t_p=float(2 * stats.t.sf(abs(mean / error), n - 1)),
        d_z=mean / spread,
        detectable=least * spread if least is not None and least * spread <= 1 else None,
    )


def bounded_interval(differences: NDArray[np.float64], significance: float) -> Range:
    """Return the interval that holds without any spread: half of `significance` for each of its two bounds."""
    error = significance / 2
    return Range(low=lower_bound(differences, error), high=-lower_bound(-differences, error))


def sign_flip(differences: NDArray[np.float64]) -> SignFlip:
    """Test that differences are symmetric around 0 by flipping their signs.

    Up to EXACT_LIMIT differences other than 0 every one of the 2^n assignments counts; the result is that of
    `scipy.stats.permutation_test(permutation_type="samples", n_resamples=inf)`, which lists them one by one and so
    ends at about 20. Above, all are counted where the differences are multiples of one step (equal ones give the sign
    test); else RESAMPLES assignments are drawn with a fixed seed, and the observed one counts too.
    """
    d = differences[np.abs(differences) > NO_SPREAD]  # a flipped 0 is a 0: it doubles both counts, not their ratio
    threshold = abs(float(d.sum())) - 1e-10 * float(np.abs(d).sum())  # the tolerance makes ties count as ties
    if threshold <= 0:
        return SignFlip(1.0, "exact", 2 ** len(d) if len(d) <= EXACT_LIMIT else None)
    if len(d) <= EXACT_LIMIT:
        return SignFlip(_exact_share(d, threshold), "exact", 2 ** len(d))
    if (share := _lattice_share(d, threshold)) is not None:
        return SignFlip(share, "exact", None)
    chance, above, left = np.random.default_rng(0), 0, RESAMPLES
    while left:
        some = min(left, RESAMPLES // 9, max(1, AT_ONCE // len(d)))
        signs = 2.0 * chance.integers(0, 2, (some, len(d)), dtype=np.int8) - 1
        above, left = above + int((np.abs(signs @ d) >= threshold).sum()), left - some
    return SignFlip((above + 1) / (RESAMPLES + 1), "random", RESAMPLES)


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


def lower_bound(differences: NDArray[np.float64], error: float) -> float:
    """Return the one-sided lower bound of the mean of values within [−1, 1]; it is too high with chance `error`.

    Gaffke (2005, Mathematical Methods of Statistics 14), Learned-Miller and Thomas (2020, arXiv 1905.06208): the
    `error` quantile of the mean under random weights, uniform over the simplex, of the values and of one more at −1.
    So it does not collapse where values are equal: n zeros give error^(1/n) − 1. It is exact for two values
    (Clopper and Pearson 1934), and its upper side against 0 is the sign test for −1, 0 and 1; elsewhere its coverage
    is a conjecture that no simulation has broken, ours in `tests/bench/verdicts.py` among them.
    """
    values = np.append(differences, -1.0)
    top, bottom = float(differences.max()), -1 + 1e-6
    if top <= bottom or share_below(values - bottom) >= error:
        return -1.0
    return float(optimize.brentq(lambda mean: share_below(values - mean) - error, bottom, top, xtol=1e-6))


def share_below(values: NDArray[np.float64]) -> float:
    """Return the chance that a randomly weighted mean of `values` is below 0.

    The weights are exponential variables over their sum, so it is the chance that a sum of scaled exponential
    variables is below 0: Gil-Pelaez's inversion of its characteristic function, by Gauss-Legendre on [0, ∞).
    """
    places, weights = _quadrature()
    sizes, counts = np.unique(values / np.linalg.norm(values), return_counts=True)
    rotated = np.exp(-np.log1p(-1j * np.outer(places, sizes)) @ counts)
    return float(0.5 - weights @ (rotated.imag / places) / np.pi)


@cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(512)
    return (1 + nodes) / (1 - nodes), 2 * weights / (1 - nodes) ** 2


def fisher(base: int, base_total: int, finetuned: int, finetuned_total: int) -> float:
    """Return the two-sided p of Fisher's exact test that two shares are equal; 1 where an arm has no conversation."""
    table = [[base, base_total - base], [finetuned, finetuned_total - finetuned]]
    return float(stats.fisher_exact(table).pvalue)


def rates_differ(base: tuple[int, int], finetuned: tuple[int, int], significance: float) -> tuple[bool, float]:
    """Tell whether two shares, each a count and its whole, differ, and return the p of Fisher's exact test.

    They do where that rejects, or where they are more than LARGE_GAP and more than one apart.
    """
    (b, of_b), (f, of_f) = base, finetuned
    p = fisher(b, of_b, f, of_f)
    apart = abs(b / max(1, of_b) - f / max(1, of_f)) > LARGE_GAP and abs(b - f) > 1
    return p < significance or apart, p


def _exact_share(d: NDArray[np.float64], threshold: float) -> float:
    """Return the share of sign assignments whose sum is at least `threshold` away from 0.

    Every assignment joins one half sum of the first differences with one of the last, so counting pairs above a
    threshold in sorted half sums needs 2^(n/2) steps instead of 2^n.
    """
    first, last = _signed_sums(d[: len(d) // 2]), np.sort(_signed_sums(d[len(d) // 2 :]))
    above = int((len(last) - np.searchsorted(last, threshold - first)).sum())
    return 2.0 * above / 2.0 ** len(d)


class _Sums(NamedTuple):
    """Every sum of signed values, and how probable each is."""

    sums: NDArray[np.float64]
    chances: NDArray[np.float64]


def _lattice_sums(d: NDArray[np.float64], up: float = 0.5) -> _Sums | None:
    """Return the sums of values whose signs are drawn, each + with the chance `up`, for multiples of one step.

    Those of equal size are binomial, and these are convolved. None where no step of 1 to MOST_STEPS to the smallest
    fits, or the sums are too many.
    """
    sizes, counts = np.unique(np.abs(d).round(12), return_counts=True)
    fitting = (parts for parts in range(1, MOST_STEPS + 1) if _are_whole(sizes / sizes[0] * parts))
    parts = next(fitting, None)
    steps = np.rint(sizes / sizes[0] * (parts or 1)).astype(int)
    reach = int(steps @ counts)
    if parts is None or reach > MOST_SUMS:
        return None
    chances = np.ones(1)
    for step, count in zip(steps, counts, strict=True):
        signs = np.zeros(2 * step * count + 1)
        signs[:: 2 * step] = stats.binom.pmf(np.arange(count + 1), count, up)
        chances = signal.convolve(chances, signs)
    return _Sums(np.arange(-reach, reach + 1) * (sizes[0] / parts), chances.clip(0))


def _lattice_share(d: NDArray[np.float64], threshold: float) -> float | None:
    """Return the same share for multiples of one step; None where they are none."""
    found = _lattice_sums(d)
    return found and float(min(1.0, found.chances[np.abs(found.sums) >= threshold].sum()))


def detectable_preference(differences: NDArray[np.float64], significance: float) -> float | None:
    """Return the true mean at which t test and sign-flip test both reject with POWER, for values on a lattice.

    The sizes stay what they are and the signs are drawn, so that both tests reject from one sum on: exact, and above
    what `detectable_shift` says, since counts cannot reach a significance to the dot. None where there is none.
    """
    n, d = len(differences), differences[np.abs(differences) > NO_SPREAD]
    null = _lattice_sums(d) if len(d) else None
    if null is None:
        return None
    tails = 2 * null.chances[::-1].cumsum()[::-1]
    means, squares = null.sums / n, float(d @ d) / n
    error = np.sqrt(np.maximum(squares - means**2, 0) / max(n - 1, 1))
    half = stats.t.isf(significance / 2, max(n - 1, 1)) * error
    reached = null.chances > 1e-15  # others lie between the steps, or are rounding
    rejected = reached & (tails < significance) & (means > half) & (half >= NO_WIDTH)
    if not rejected.any():
        return None
    least = null.sums[rejected].min()

    def lack(up: float) -> float:
        found = _lattice_sums(d, up)
        return (float(found.chances[found.sums >= least - 1e-9].sum()) if found else 0.0) - POWER

    return float((2 * optimize.brentq(lack, 0.5, 1.0) - 1) * np.abs(d).sum() / n)


def _are_whole(values: NDArray[np.float64]) -> bool:
    return bool(np.abs(values - np.rint(values)).max() < 1e-6)


def _signed_sums(d: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums - value, sums + value])
    return sums
