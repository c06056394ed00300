"""Figures of one difference per persona or prompt: what they come to, and how sure that is."""

from __future__ import annotations

from typing import Literal

from tuneline.data.io import Closed

ScoreOutcome = Literal["better", "not worse", "worse", "inconclusive"]


class Range(Closed):
    """Two ends, the lower first."""

    low: float
    high: float


class Effect(Closed):
    """What the differences per persona say about the score."""

    unit: Literal["persona", "prompt"] = "persona"
    """What gives one difference each. Where prompts were compared, `personas` counts prompts everywhere."""
    personas: int
    """Personas with at least one scored conversation in both arms: the sample size."""
    mean_difference: float | None
    """Mean over personas of (finetuned mean score − base mean score)."""
    interval: Range | None
    """t interval of the mean difference at the confidence 1 − significance, within the scale; where `t` is None, the
    wider interval that holds for any spread."""
    bound: float | None
    """What "not worse" is decided by: the lower end of the t interval or the one-sided bound at the confidence
    1 − significance that counts with rare failures, whichever is lower."""
    degrees_of_freedom: int | None
    """Personas − 1."""
    t: float | None
    """Paired t statistic; None when the differences hardly vary."""
    t_p: float | None
    """Two-sided p of the t test."""
    sign_flip_p: float | None
    """Two-sided p of the sign-flip permutation test: the p value of the headline."""
    sign_flip_method: Literal["exact", "random"] | None
    """Every sign assignment was tried, or a seeded random sample of them."""
    sign_flip_resamples: int | None
    """Sign assignments tried."""
    d_z: float | None
    """Standardised effect: mean difference / standard deviation of the differences."""
    detectable: float | None
    """Smallest detectable difference: the true mean difference at which t test and sign-flip test both reject with
    80 % power, for this number of personas and this spread; None where there is none on the scale."""
    leave_one_out: Range | None
    """Lowest and highest mean difference when one persona is left out."""


def score_outcome(ends: Range, significant: bool, bound: float, margin: float) -> ScoreOutcome:
    """Return what the score alone decides.

    `ends` is its t interval; `significant` whether the sign-flip test rejects; a loss is ruled out where `bound` lies
    above −`margin`.
    """
    if significant and ends.low > 0:
        return "better"
    if significant and ends.high < 0:
        return "worse"
    return "not worse" if bound > -margin else "inconclusive"
