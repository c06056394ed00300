"""Measures how often each verdict is wrong, and how often it is found where it is true.

`PYTHONPATH=tests python tests/bench/verdicts.py` prints the tables of the page in docs/decisions. The populations are
of differences per persona, drawn anew for every comparison; the rule is the evaluator's own by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuneline.data.paired.statistics import bounded_interval, share_below, sign_flip, t_test
from tuneline_evaluator.comparison.verdict import by_score

SIGNIFICANCE, MARGIN, SAFETY_MARGIN = 0.05, 0.03, 0.10
SIZES = {6: 4000, 12: 4000, 32: 2000, 100: 1000}
"""Personas, and comparisons that are drawn of so many."""
Differences = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Differences]


class Population(NamedTuple):
    """Differences per persona, and the verdicts that are false of them."""

    name: str
    draw: Draw
    false: tuple[str, ...]


def spread(shift: float, deviation: float) -> Draw:
    return lambda chance, n: chance.normal(shift, deviation, n).clip(-1, 1)


def rare(share: float, failure: float, others: Draw) -> Draw:
    """Give a share of the personas another difference, mostly a total failure."""
    return lambda chance, n: np.where(chance.random(n) < share, failure, others(chance, n))


SAME = spread(0, 0)
POPULATIONS = (
    Population("no difference, spread of 10 points", spread(0, 0.10), ("better", "worse")),
    Population("constant judge", SAME, ("better", "worse")),
    Population("ceiling: one in ten 10 points lower, as many higher",
               rare(0.1, 0.10, rare(1 / 9, -0.10, SAME)), ("better", "worse")),
    Population("loss of 3 points, spread of 5", spread(-MARGIN, 0.05), ("better", "not worse")),
    Population("loss of 3 points, spread of 10", spread(-MARGIN, 0.10), ("better", "not worse")),
    Population("gain of 3 points, spread of 10", spread(MARGIN, 0.10), ("worse",)),
    Population("one in 20 fails totally, the others alike", rare(0.05, -1, SAME), ("better", "not worse")),
    Population("one in 20 fails totally, spread of 5", rare(0.05, -1, spread(0, 0.05)), ("better", "not worse")),
    Population("3 in 100 fail totally, the others alike", rare(MARGIN, -1, SAME), ("better", "not worse")),
    Population("one in 20 is rescued totally, the others alike", rare(0.05, 1, SAME), ("worse",)),
)  # fmt: skip
LIMITS = (
    ("one in 20 fails totally, the others gain 2 points, spread of 2", rare(0.05, -1, spread(0.02, 0.02))),
    ("one in 20 fails totally, the others gain 4 points, spread of 5", rare(0.05, -1, spread(0.04, 0.05))),
)
"""Where "better" is wrong more often: a suite that met no failure cannot know of it, and the report says that too."""
TRUE = (
    ("better", "gain of 5 points, spread of 10", spread(0.05, 0.10)),
    ("better", "gain of 10 points, spread of 10", spread(0.10, 0.10)),
    ("worse", "loss of 5 points, spread of 10", spread(-0.05, 0.10)),
    ("not worse", "constant judge", SAME),
    ("not worse", "no difference, spread of 5 points", spread(0, 0.05)),
    ("not worse", "no difference, spread of 10 points", spread(0, 0.10)),
)


@cache
def verdict(sample: tuple[float, ...]) -> str:
    """Return what the score decides; what can change nothing is left out."""
    differences = np.array(sample)
    ends = t_test(differences, SIGNIFICANCE).interval
    bound = ends.low if ends else 1.0
    if not above(differences, -MARGIN, SIGNIFICANCE):
        bound = -1.0
    ends = ends or bounded_interval(differences, SIGNIFICANCE)
    significant = not ends.low <= 0 <= ends.high and sign_flip(differences).p < SIGNIFICANCE
    return by_score(ends, significant, bound, MARGIN)[0]


def verdicts(draw: Draw, personas: int, comparisons: int) -> dict[str, float]:
    """Return how often each verdict is given."""
    chance = np.random.default_rng(personas)
    found = Counter(verdict(tuple(np.sort(draw(chance, personas)))) for _ in range(comparisons))
    return {name: found[name] / comparisons for name in ("better", "not worse", "worse")}


def safe(personas: int, comparisons: int, base: float, finetuned: float) -> tuple[float, float]:
    """Return how often a gate that fails at these rates holds, and how often it is broken (one gate in the rubric)."""
    chance = np.random.default_rng(personas)
    holds = broken = 0
    for _ in range(comparisons):
        fails = [chance.random(personas) < rate for rate in (base, finetuned)]
        one = gate(tuple(np.sort(fails[0].astype(float) - fails[1])))
        holds, broken = holds + one[0], broken + one[1]
    return holds / comparisons, broken / comparisons


@cache
def gate(sample: tuple[float, ...]) -> tuple[bool, bool]:
    """Return whether a gate holds, and whether it is broken."""
    changes = np.array(sample)
    return above(changes, -SAFETY_MARGIN, SIGNIFICANCE), above(-changes, 0.0, SIGNIFICANCE / 2)


def above(differences: Differences, limit: float, error: float) -> bool:
    """Return whether `lower_bound` is above a limit, without searching for the bound itself."""
    return share_below(np.append(differences, -1.0) - limit) < error


def rows() -> Iterator[str]:
    head = " | ".join(str(size) for size in SIZES)
    yield f"| Wrong verdicts, % of comparisons, at so many personas | {head} |\n|---|{'---:|' * len(SIZES)}"
    for name, draw, false in POPULATIONS:
        found = [verdicts(draw, size, comparisons) for size, comparisons in SIZES.items()]
        for wrong in false:
            yield f"| {wrong}: {name} | {' | '.join(f'{100 * one[wrong]:.1f}' for one in found)} |"
    gates = [safe(size, comparisons, 0.0, SAFETY_MARGIN) for size, comparisons in SIZES.items()]
    yield f"| gate holds: one in ten fails, none with the base | {' | '.join(f'{100 * g[0]:.1f}' for g in gates)} |"
    gates = [safe(size, comparisons, 0.1, 0.1) for size, comparisons in SIZES.items()]
    yield f"| gate broken: one in ten fails with either model | {' | '.join(f'{100 * g[1]:.1f}' for g in gates)} |"
    yield f"\n| Better, although the mean is below 0, % | {head} |\n|---|{'---:|' * len(SIZES)}"
    for name, draw in LIMITS:
        found = [verdicts(draw, size, comparisons) for size, comparisons in SIZES.items()]
        yield f"| {name} | {' | '.join(format(100 * one['better'], '.1f') for one in found)} |"
    yield f"\n| Found where true, % | {head} |\n|---|{'---:|' * len(SIZES)}"
    for right, name, draw in TRUE:
        found = [verdicts(draw, size, comparisons // 10) for size, comparisons in SIZES.items()]
        yield f"| {right}: {name} | {' | '.join(f'{100 * one[right]:.0f}' for one in found)} |"
    gates = [safe(size, comparisons, 0.0, 0.0) for size, comparisons in SIZES.items()]
    yield f"| gate holds: no failure | {' | '.join(f'{100 * g[0]:.0f}' for g in gates)} |"


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
