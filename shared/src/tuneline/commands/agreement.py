"""How far two sets of answers agree: a judge with people, with itself, or with another judge."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuneline.data.io import Closed
from tuneline.data.text.rules import Answer
from tuneline.judge.panel import SCALE

RESAMPLES, CONFIDENCE = 1_000, 0.95

Answers = Mapping[str, Mapping[str, Answer]]
"""By transcript and criterion."""

_Counts = list[int]
"""How often each pair of answers came up: 3 × 3, the first set's answer gives the row."""


class Interval(Closed):
    """Ends of a confidence interval."""

    low: float
    high: float


class Agreement(Closed):
    """Agreement on one criterion, or on all."""

    criterion: str
    """Its id, or `all`."""
    transcripts: int
    """With an answer in both sets."""
    answers: int
    accuracy: float | None
    """Share of equal answers; None without answers."""
    accuracy_interval: Interval | None
    """At 95 %, by bootstrap over transcripts; None below two of them."""
    kappa: float | None
    """Weighted kappa; None where it says nothing: one side gave one answer only, so that agreement is all chance."""
    kappa_interval: Interval | None
    """None also where all answers are equal: then nothing says how far below 1 it may lie."""
    stricter: int
    """Answers of the first set that lie below the second's: NO for YES."""
    milder: int


class _Pair(NamedTuple):
    criterion: int
    cell: int


def agreement(ours: Answers, theirs: Answers, criteria: Sequence[str], *, seed: int = 0) -> list[Agreement]:
    """Compare two sets of answers by criterion, and `all` in the last row.

    Intervals are percentiles of a bootstrap that draws whole transcripts, since the answers about one depend on each
    other (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 8.6).
    """
    shared = sorted(ours.keys() & theirs.keys())
    rows = [_pairs(ours[name], theirs[name], criteria) for name in shared]
    rows = [row for row in rows if row]
    whole = _counts(rows, [1] * len(rows), len(criteria))
    drawn = _bootstrap(rows, len(criteria), seed)
    found = []
    for place, name in enumerate([*criteria, "all"]):
        counts, samples = whole[place], [sample[place] for sample in drawn]
        with_it = len(rows) if name == "all" else sum(any(p.criterion == place for p in row) for row in rows)
        found.append(_agreement(name, with_it, counts, samples))
    return found


def accuracy(counts: Sequence[int]) -> float | None:
    """Return the share of equal answers of a 3 × 3 table, None for an empty one."""
    total = sum(counts)
    return (counts[0] + counts[4] + counts[8]) / total if total else None


def kappa(counts: Sequence[int]) -> float | None:
    """Return Cohen's weighted kappa of a 3 × 3 table: 1 − Σ w·observed / Σ w·expected, with w = |row − column|.

    (J. Cohen 1968, Weighted kappa, Psychological Bulletin 70, 213-220.) Without NA it is the unweighted one.
    """
    total = sum(counts)
    rows = [sum(counts[3 * i : 3 * i + 3]) for i in range(3)]
    columns = [sum(counts[j::3]) for j in range(3)]
    observed = sum(abs(i - j) * counts[3 * i + j] for i in range(3) for j in range(3))
    expected = sum(abs(i - j) * rows[i] * columns[j] for i in range(3) for j in range(3))
    one_class = max(rows) == total or max(columns) == total  # it would be 0 or nothing, whoever agrees
    return 1 - observed * total / expected if expected and not one_class else None


def _pairs(ours: Mapping[str, Answer], theirs: Mapping[str, Answer], criteria: Sequence[str]) -> list[_Pair]:
    return [
        _Pair(place, 3 * SCALE.index(ours[name]) + SCALE.index(theirs[name]))
        for place, name in enumerate(criteria)
        if name in ours and name in theirs
    ]


def _counts(rows: Sequence[Sequence[_Pair]], weights: Sequence[int], criteria: int) -> list[_Counts]:
    """Return the table of each criterion, and of all at the end."""
    tables = [[0] * 9 for _ in range(criteria)]
    for row, weight in zip(rows, weights, strict=True):
        if weight:
            for criterion, cell in row:
                tables[criterion][cell] += weight
    return [*tables, [sum(table[cell] for table in tables) for cell in range(9)]]


def _bootstrap(rows: Sequence[Sequence[_Pair]], criteria: int, seed: int) -> list[list[_Counts]]:
    if len(rows) < 2:
        return []
    draw, found = random.Random(seed), []
    for _ in range(RESAMPLES):
        weights = [0] * len(rows)
        for place in draw.choices(range(len(rows)), k=len(rows)):
            weights[place] += 1
        found.append(_counts(rows, weights, criteria))
    return found


def _agreement(name: str, transcripts: int, counts: _Counts, samples: Sequence[_Counts]) -> Agreement:
    return Agreement(
        criterion=name,
        transcripts=transcripts,
        answers=sum(counts),
        accuracy=accuracy(counts),
        accuracy_interval=_within_the_edges(_interval([accuracy(sample) for sample in samples]), transcripts),
        kappa=kappa(counts),
        kappa_interval=_interval([kappa(sample) for sample in samples])
        if counts[0] + counts[4] + counts[8] < sum(counts)
        else None,
        stricter=counts[1] + counts[2] + counts[5],
        milder=counts[3] + counts[6] + counts[7],
    )


def _within_the_edges(found: Interval | None, transcripts: int) -> Interval | None:
    """Widen an interval without width, as when all agreed: so many transcripts cannot show that all others would.

    (The exact interval of Clopper and Pearson 1934, Biometrika 26, at 0 and n successes: n-th root of 0.025.)
    """
    if found is None or found.low < found.high or 0 < found.low < 1:
        return found
    edge = ((1 - CONFIDENCE) / 2) ** (1 / transcripts)
    return Interval(low=edge, high=1) if found.low == 1 else Interval(low=0, high=1 - edge)


def _interval(values: Sequence[float | None]) -> Interval | None:
    """Return the middle share of the values that are defined; None when fewer than half are."""
    known = sorted(value for value in values if value is not None)
    if not known or len(known) < len(values) / 2:
        return None
    cut = (1 - CONFIDENCE) / 2
    return Interval(low=known[round(cut * (len(known) - 1))], high=known[round((1 - cut) * (len(known) - 1))])
