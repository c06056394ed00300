"""What stands beside the score: its difference where answers are about as long, and what the comparison could see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from tuneline.data.paired.planning import power_at
from tuneline.data.paired.statistics import NO_SPREAD, bounded_interval, t_test
from tuneline_evaluator.comparison.effects import LengthMatched, PowerAt
from tuneline_evaluator.comparison.scores import Scored, pairs, score

SAME_LENGTH = 1.25
"""Ratio up to which the mean answers of two arms are about as long."""

DIFFERENCES = (0.03, 0.05, 0.10)
"""True differences of which the power is told."""


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
