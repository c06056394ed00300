"""Shares with their one-sided bounds (Clopper and Pearson 1934), without SciPy: whoever checks a run may lack it."""

from __future__ import annotations

import math
from typing import NamedTuple

CONFIDENCE = 0.95
HALVINGS = 60
"""After so many an interval from 0 to 1 is about as narrow as numbers are."""
EXACT = 1e-14
"""By how much the last term of a fraction may still change it."""


class Rate(NamedTuple):
    """A share of events, with one-sided bounds."""

    events: int
    of: int
    share: float
    low: float
    high: float


def rate(events: int, of: int) -> Rate:
    """Return the share of `events` with one-sided bounds, each at 95 %; of nothing, everything is possible."""
    low = _quantile(1 - CONFIDENCE, events, of - events + 1) if events else 0.0
    high = _quantile(CONFIDENCE, events + 1, of - events) if events < of else 1.0
    return Rate(events, of, events / of if of else 0.0, low, high)


def _quantile(share: float, a: int, b: int) -> float:
    """Return below which x a Beta(a, b) variable is with probability `share`."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, a, b) < share else (low, middle)
    return (low + high) / 2


def _below(x: float, a: int, b: int) -> float:
    """Return the probability that a Beta(a, b) variable is below x (Abramowitz and Stegun 26.5.8)."""
    if x > (a + 1) / (a + b + 2):  # on this side of its mode the fraction converges fast
        return 1.0 - _below(1.0 - x, b, a)
    ln = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(ln) / (a * _fraction(x, a, b))


def _fraction(x: float, a: int, b: int) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)), evaluated from the front (Lentz 1976)."""
    value, above, below, n = 1.0, 1.0, 0.0, 0
    while True:
        n += 1
        m, even = n // 2, n % 2 == 0
        top = m * (b - m) if even else -(a + m) * (a + b + m)
        d = top * x / ((a + n - 1) * (a + n))
        below = 1.0 / (1.0 + d * below)
        above = 1.0 + d / above
        value *= above * below
        if abs(above * below - 1.0) < EXACT:
            return value
