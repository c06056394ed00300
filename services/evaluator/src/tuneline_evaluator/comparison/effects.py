"""Figures of differences: what they come to, how sure that is, and what may be behind them."""

from __future__ import annotations

from tuneline.data.conversations import Arm
from tuneline.data.io import Closed
from tuneline.data.paired.effects import Effect, Range


class RateGap(Closed):
    """Something that goes wrong, compared between the arms."""

    name: str
    """What went wrong, in words."""
    base: int
    """Conversations of the base arm, or answers."""
    of_base: int
    finetuned: int
    of_finetuned: int
    interval: Range | None = None
    """Of the mean difference of the shares by persona or prompt (finetuned − base), at the confidence 1 − significance;
    it holds for any spread. None below two of them."""
    fisher_p: float
    """Two-sided Fisher exact test of the two shares."""
    differs: bool
    """Whether the gap is large enough to withhold the headline, or to be named in it."""


class RoleCheck(Closed):
    """Conversations that are left out because the simulated user left its role, with all models alike."""

    by_judge: bool
    """Whether the judge was asked, too; code looks always."""
    left_out: list[str]
    """`<persona>/<trial>`, sorted."""
    of: int
    """Personas and trials that were held."""
    base: int
    """Conversations with the base in which it left its role."""
    finetuned: int


class Repeated(Closed):
    """An answer that repeats training text."""

    conversation: str
    answer: int
    """From 1."""
    words: int
    """Of the longest stretch."""


class MemorisedArm(Closed):
    """One arm's answers."""

    answers: int
    repeating: int
    """Those with at least one run of so many words of the training text."""
    longest: list[Repeated]
    """A few of them, the longest first."""


class Memorised(Closed):
    """Answers that repeat what was learnt, word for word."""

    words: int
    """Words in a row that count; characters in scripts without spaces."""
    base: MemorisedArm
    finetuned: MemorisedArm
    fisher_p: float
    differs: bool


class LengthMatched(Closed):
    """The difference of the scores over those personas or prompts alone whose answers are about as long in both arms:
    within a quarter, on average, in characters.
    """

    personas: int
    of: int
    """Personas with a difference at all."""
    median_ratio: float
    """Of the mean lengths, finetuned / base."""
    mean_difference: float | None
    interval: Range | None


class PowerAt(Closed):
    """How likely t test and sign-flip test both reject if this were the true difference, for this many personas and
    this spread: what the comparison could see, whatever it saw.
    """

    difference: float
    power: float


class Gap(Closed):
    """How far apart two arms are on the scale of Elo: 400·log10 of the odds that the finetuned one is preferred.

    It is that of Bradley and Terry (1952), which does not depend on the order of the games as a running rating does.
    """

    gap: float
    """Finetuned − base."""
    low: float | None
    """Bootstrap by persona or prompt at the confidence 1 − significance; None: no end is known."""
    high: float | None
    base: float
    """Rating, with 1500 in the middle of the two."""
    finetuned: float


class PositionBias(Closed):
    """Whether the judge prefers what it is shown first."""

    decided: int
    """Calls that named one of the two."""
    first: int
    """Of those, the calls that named the one shown first."""
    p: float
    """Two-sided exact binomial p that it is one half."""
    flips: int
    """Pairs of which it named the other one when the order was turned round."""
    of: int
    """Pairs that were judged in both orders."""
    too_many: bool
    """More than 30 % of them: nothing follows from such a judge."""


class LengthControl(Closed):
    """The win rate at equal length: logit P(finetuned preferred) = θ + φ·tanh(Δ/σ), Δ the difference in characters.

    A fractional logistic regression with a ridge of 0.001 on φ; σ is the root mean square of Δ (after Dubois et al.
    2024, arXiv 2404.04475).
    """

    win_rate: float
    """sigmoid(θ)."""
    interval: Range
    """Bootstrap by persona or prompt, at the confidence 1 − significance."""
    phi: float
    """How much the judge leans towards the longer one."""
    mean_difference: float
    """Mean Δ."""
    longer: int
    """Decided pairs of unequal length in which the longer one was preferred."""
    of: int
    by_length: bool
    """The raw win rate lies beyond chance on one side of one half, and the one at equal length does not."""


class Preference(Closed):
    """Which of two answers, or conversations, the judge prefers, asked in both orders."""

    judge: str
    question: str
    win_rate: float | None
    """Mean over personas or prompts of what both orders gave the finetuned arm: 1 preferred, 0.5 neither, 0 not."""
    effect: Effect
    """Of win rate − 0.5."""
    wins: int
    """Preferred in both orders."""
    losses: int
    ties: int
    """Everything between, flips not counted."""
    flips: int
    """The other one was preferred when the order was turned round: a tie in every test."""
    identical: int
    """Of the ties, the pairs that are the same to the letter: nobody was asked."""
    unjudged: int
    """Pairs without an answer in one order or both."""
    unanswered: dict[str, int]
    """Calls without a preference, by status."""
    sign_p: float
    """Exact two-sided sign test of wins and losses by persona or prompt (McNemar's exact test is the same sum)."""
    gap: Gap | None
    position: PositionBias
    length: LengthControl | None


class ArmRow(Closed):
    """One arm."""

    arm: Arm
    name: str
    """File, or model and server."""
    file_type: str | None
    bytes: int | None
    conversations: int
    scored: int
    personas: int
    """Personas or prompts with a scored conversation."""
    mean_score: float | None
    interval: Range | None
    """t interval of the mean over personas or prompts, within the scale."""
    rating: float | None
    """Bradley and Terry's strength on the scale of Elo, the base at 1500: who has the higher score with a persona wins.
    None where an arm has no persona in common with another."""
    rating_interval: Range | None
    """Of its distance from the base, bootstrapped by persona; counted from 1500. None where it has no width."""
    differs: list[str]
    """What should be equal and is not, compared with the base."""


class ArmPair(Closed):
    """Two arms."""

    first: Arm
    second: Arm
    personas: int
    difference: float | None
    """Mean of second − first over the personas or prompts that both have a score for."""
    interval: Range | None
    p: float | None
    """Two-sided sign-flip p before adjustment."""
    p_holm: float | None
    """The same, Holm-adjusted for all pairs."""


class ManyArms(Closed):
    """All arms and all pairs of them, in the order in which they are named: base and fine-tuned first."""

    arms: list[ArmRow]
    pairs: list[ArmPair]
