"""Measures how often what is said of a preference is wrong where neither arm is better, and how often a gain is found.

`PYTHONPATH=tests python -m bench.preferences` prints the tables of the page in docs/decisions. Every comparison
draws prompts anew; the rules are the evaluator's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.verdicts import SIGNIFICANCE, spread, verdict, verdicts
from tuneline.data.paired.statistics import detectable_preference, sign_flip, t_test
from tuneline_evaluator.comparison.beside import length_control
from tuneline_evaluator.comparison.bradley_terry import gap, sign_test

COMPARISONS = 2000
SIZES = (50, 200)
NO_GAIN = (0.0, 0.3, 0.6)
"""Shares of ties where neither arm is better."""
RULES = ("verdict: t interval and sign flips", "sign flips alone", "sign flips by mid-p", "t interval alone")


class Drawn(NamedTuple):
    """Scores of the finetuned arm by prompt, and how much longer its answers are."""

    scores: NDArray[np.float64]
    lengths: NDArray[np.float64]


def draw(
    chance: np.random.Generator, prompts: int, gain: float = 0.0, ties: float = 0.0, leaning: float = 0.0
) -> Drawn:
    """Draw what a judge says: so many ties, one call in ten undecided, the rest by a logit of gain and length."""
    lengths = chance.normal(30 if leaning else 0, 60, prompts)
    decided = 1 / (1 + np.exp(-leaning * np.tanh(lengths / 60)))
    won = (chance.random(prompts) < decided).astype(float)
    half = np.where(chance.random(prompts) < 0.1, 0.25, 0.5)
    return Drawn(np.where(chance.random(prompts) < ties, 0.5, 0.5 + (2 * won - 1) * half), lengths)


def wrong(prompts: int, ties: float, comparisons: int = COMPARISONS) -> dict[str, float]:
    """Return how often each rule claims a difference where there is none."""
    chance, found = np.random.default_rng(prompts), Counter[str]()
    for _ in range(comparisons):
        scores = draw(chance, prompts, ties=ties).scores
        ends = gap(list(scores), SIGNIFICANCE)
        found["verdict: better or worse"] += verdict(tuple(np.sort(scores - 0.5))) in ("better", "worse")
        found["gap: interval without 0"] += (
            ends is not None and ends.low is not None and ends.high is not None and not ends.low <= 0 <= ends.high
        )
        wins, losses = int((scores == 1).sum()), int((scores == 0).sum())
        found["sign test of wins and losses"] += sign_test(wins, losses) < SIGNIFICANCE
        changes = np.where(chance.random(prompts) < 0.3, chance.choice([-1.0, 1.0], prompts), 0.0)
        found["McNemar's test of a trait"] += sign_flip(changes).p < SIGNIFICANCE
    return {name: count / comparisons for name, count in found.items()}


class Case(NamedTuple):
    """Prompts, the share of ties among them, and that of calls of the judge without a winner."""

    prompts: int
    ties: float
    undecided: float = 0.1


def sizes(case: Case) -> NDArray[np.float64]:
    """Return how often each of RULES claims a difference where there is none: exact, summed over all scores."""
    n, found = case.prompts, np.zeros(len(RULES))
    winners = stats.binom.pmf(np.arange(n + 1), n, 1 - case.ties)
    for decided in np.flatnonzero(winners > 1e-6):
        quarters = stats.binom.pmf(np.arange(decided + 1), decided, case.undecided)
        for quarter in np.flatnonzero(quarters > 1e-6):
            found += winners[decided] * quarters[quarter] * _given(n, int(quarter), int(decided - quarter))
    return found


def _given(n: int, quarters: int, halves: int) -> NDArray[np.float64]:
    """Return the same, given how many scores are a quarter or a half from the middle, on either side."""
    signs = np.zeros(2 * 2 * halves + 1)
    signs[::4] = stats.binom.pmf(np.arange(halves + 1), halves, 0.5)
    small = np.zeros(2 * quarters + 1)
    small[::2] = stats.binom.pmf(np.arange(quarters + 1), quarters, 0.5)
    middle = quarters + 2 * halves
    chances = 2 * np.convolve(signs, small)[middle + 1 :]  # of either sign; a sum of 0 rejects nothing
    means, p = np.arange(1, middle + 1) / 4 / n, chances[::-1].cumsum()[::-1]
    error = np.sqrt(np.maximum((quarters / 16 + halves / 4) / n - means**2, 0) / (n - 1))
    outside = means > stats.t.isf(SIGNIFICANCE / 2, n - 1) * error
    flips, mid = p < SIGNIFICANCE, p - chances / 2 < SIGNIFICANCE
    return np.array([chances[rejected].sum() for rejected in (outside & flips, flips, mid, outside)])


def of_personas(n: int, comparisons: int = COMPARISONS) -> NDArray[np.float64]:
    """Return the same for so many personas whose differences are normal, where no two sums are equal; drawn."""
    chance, found = np.random.default_rng(n), np.zeros(len(RULES))
    for _ in range(comparisons):
        d = chance.normal(0, 0.1, n)
        ends, flips = t_test(d, SIGNIFICANCE).interval, sign_flip(d).p < SIGNIFICANCE
        outside = ends is not None and not ends.low <= 0 <= ends.high
        found += [outside and flips, flips, flips, outside]
    return found / comparisons


def by_size() -> Iterator[str]:
    """Yield the table of rules by number of prompts or personas, neither arm being better."""
    cases = [Case(n, ties) for ties in NO_GAIN for n in (20, 50, 100, 200, 500)]
    cases += [Case(n, 0.0, 0.0) for n in (20, 50, 100, 200, 500)]
    yield f"| A difference where there is none, % | {' | '.join(RULES)} |\n|---|{'---:|' * len(RULES)}"
    for case in cases:
        name = f"{case.prompts} prompts, {100 * case.ties:.0f} % ties" + ("" if case.undecided else ", each decided")
        yield f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in sizes(case))} |"
    for n in (6, 12, 32):
        yield f"| {n} personas | {' | '.join(f'{100 * share:.1f}' for share in of_personas(n))} |"


def by_length(prompts: int, comparisons: int) -> tuple[float, float]:
    """Return how often a judge that likes length alone makes a winner, by the raw win rate and at equal length."""
    chance, raw, controlled = np.random.default_rng(prompts), 0, 0
    for _ in range(comparisons):
        drawn = draw(chance, prompts, leaning=1.5)
        found = length_control(list(drawn.scores), list(drawn.lengths), SIGNIFICANCE, None)
        raw += verdict(tuple(np.sort(drawn.scores - 0.5))) in ("better", "worse")
        controlled += found is not None and not found.interval.low <= 0.5 <= found.interval.high
    return raw / comparisons, controlled / comparisons


def power(prompts: int, comparisons: int = COMPARISONS) -> tuple[float, float]:
    """Return the win rate that is stated to be found four times out of five, without ties, and how often it is."""
    rate = 0.5 + (detectable_preference(np.full(prompts, 0.5), SIGNIFICANCE) or 0.0)
    chance, found = np.random.default_rng(prompts), 0
    for _ in range(comparisons):
        won = chance.random(prompts) < rate
        found += verdict(tuple(np.sort(np.where(won, 0.5, -0.5)))) == "better"
    return rate, found / comparisons


def rows() -> Iterator[str]:
    cells = [(prompts, ties) for prompts in SIZES for ties in NO_GAIN]
    found = [wrong(*cell) for cell in cells]
    head = " | ".join(f"{prompts}, {100 * ties:.0f} % ties" for prompts, ties in cells)
    yield f"| A difference where there is none, % | {head} |\n|---|{'---:|' * len(cells)}"
    for name in found[0]:
        yield f"| {name} | {' | '.join(f'{100 * one[name]:.1f}' for one in found)} |"
    yield from by_size()
    same = verdicts(spread(0, 0.10), 32, COMPARISONS)
    yield f"\nOn 32 personas: {100 * (same['better'] + same['worse']):.1f} %."
    raw, controlled = by_length(200, COMPARISONS // 4)
    said = f"raw {100 * raw:.1f} %, at equal length {100 * controlled:.1f} %"
    yield f"A judge that likes length alone makes a winner of 200 prompts: {said}."
    for prompts in SIZES:
        rate, share = power(prompts)
        yield f"{prompts} prompts: a win rate of {100 * rate:.1f} % is found in {100 * share:.1f} %."


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
