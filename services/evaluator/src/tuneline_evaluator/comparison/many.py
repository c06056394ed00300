"""More than two arms: each one's score, every pair tested, and one table of strengths.

The headline stays the pair of base and fine-tuned. Here all pairs are tested, so the p values are Holm's over all of
them; the intervals are those of one comparison each: they say how large a difference is, not whether there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
from scipy import stats

from tuneline.data.conversations import Arm
from tuneline.data.paired.effects import Range
from tuneline.data.paired.statistics import effect, holm
from tuneline_evaluator.comparison.bradley_terry import ratings
from tuneline_evaluator.comparison.effects import ArmPair, ArmRow, ManyArms
from tuneline_evaluator.comparison.scores import JudgedConversation, Scored, score, scored_of, trials
from tuneline_evaluator.conversations.arms import ArmFacts, unequal_facts


def many_arms(
    judged: Sequence[JudgedConversation], arms: Sequence[ArmFacts], significance: float
) -> ManyArms | None:  # fmt: skip
    """Compare all arms; None where there are two."""
    if len(arms) < 3:
        return None
    scored = scored_of(judged)
    means = means_by_arm(scored)
    strengths = _strengths([means.get(arm.arm, {}) for arm in arms], significance)
    rows = []
    for arm, (rating, ends) in zip(arms, strengths, strict=True):
        mine = list(means.get(arm.arm, {}).values())
        held = [item.conversation for item in judged if item.conversation.arm == arm.arm]
        row = ArmRow(
            arm=arm.arm, name=arm.name, file_type=arm.file_type, bytes=arm.bytes, conversations=len(held),
            scored=sum(item.conversation.arm == arm.arm for item in scored), personas=len(mine),
            mean_score=fmean(mine) if mine else None, interval=mean_interval(mine, significance),
            rating=rating, rating_interval=ends, differs=_differences(arms[0], arm),
        )  # fmt: skip
        rows.append(row)
    return ManyArms(arms=rows, pairs=_pairs(means, [arm.arm for arm in arms], significance))


def _differences(base: ArmFacts, other: ArmFacts) -> list[str]:
    names = (text.partition(":")[0] for text in unequal_facts(base, other))
    return [name.removesuffix("_sha256").replace("_", " ") for name in names]


def means_by_arm(scored: Sequence[Scored]) -> dict[Arm, dict[str, float]]:
    """Return the mean score of every persona or prompt, by arm."""
    found: dict[Arm, dict[str, float]] = {}
    for (persona, arm), values in trials(scored, score).items():
        found.setdefault(arm, {})[persona] = fmean(values)
    return found


def mean_interval(values: Sequence[float], significance: float) -> Range | None:
    """Return the t interval of a mean of shares; None where it has no width."""
    n = len(values)
    if n < 2 or (spread := float(np.std(values, ddof=1))) == 0:
        return None
    half = float(stats.t.isf(significance / 2, n - 1)) * spread / n**0.5
    return Range(low=max(0.0, fmean(values) - half), high=min(1.0, fmean(values) + half))


def _pairs(means: dict[Arm, dict[str, float]], arms: Sequence[Arm], significance: float) -> list[ArmPair]:
    found = []
    for first, second in combinations(arms, 2):
        one, other = means.get(first, {}), means.get(second, {})
        shared = sorted(one.keys() & other.keys())
        found.append((first, second, effect([other[p] - one[p] for p in shared], significance)))
    tested = [each.sign_flip_p for *_, each in found if each.sign_flip_p is not None]
    adjusted = iter(holm(tested))
    return [
        ArmPair(
            first=first, second=second, personas=each.personas, difference=each.mean_difference,
            interval=each.interval, p=each.sign_flip_p,
            p_holm=None if each.sign_flip_p is None else next(adjusted),
        )
        for first, second, each in found
    ]  # fmt: skip


def _strengths(means: Sequence[dict[str, float]], significance: float) -> list[tuple[float | None, Range | None]]:
    """Return each arm's strength and its interval; nothing where an arm has met no other."""
    sides = list(combinations(range(len(means)), 2))
    personas = sorted({persona for arm in means for persona in arm})
    played = np.full((len(personas), len(sides)), np.nan)
    for row, persona in enumerate(personas):
        for column, (i, j) in enumerate(sides):
            if persona in means[i] and persona in means[j]:
                played[row, column] = 0.5 + 0.5 * np.sign(means[i][persona] - means[j][persona])
    met = ~np.isnan(played).all(axis=0) if personas else np.zeros(len(sides), bool)
    if not all(any(met[column] for column, side in enumerate(sides) if arm in side) for arm in range(len(means))):
        return [(None, None)] * len(means)
    found = ratings(played, sides, len(means), significance)
    ends = [Range(low=1500 + one.low, high=1500 + one.high) for one in found]
    # The base is where all are counted from; and a bootstrap of what never varied knows no other outcome.
    return [(one.rating, end if end.low < end.high else None) for one, end in zip(found, ends, strict=True)]
