"""What `comparison.json` says: every figure of the report, so that a reader never has to compute one again.

Scores and rates are shares between 0 and 1; a difference is always finetuned minus base. A figure is None where the
data cannot give it (one persona has no interval), never NaN.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.paired.effects import Effect
from tuneline.data.paired.safety import SafetyRow
from tuneline.judge.card import JudgeCard
from tuneline.stage import InputRecord
from tuneline_evaluator.comparison.effects import (
    LengthMatched,
    ManyArms,
    Memorised,
    PowerAt,
    Preference,
    RateGap,
    RoleCheck,
)
from tuneline_evaluator.conversations.arms import ArmFacts
from tuneline_evaluator.stage import EvaluatorParams

Outcome = Literal["better", "not worse", "worse", "inconclusive", "withheld"]
"""The verdict on the fine-tuned model; `verdict.py` documents the rule."""


class PersonaRow(Closed):
    """One persona: one row of the sample."""

    id: str
    name: str
    base_mean: float | None
    """Mean score of the scored conversations with the base arm."""
    finetuned_mean: float | None
    """Mean score of the scored conversations with the finetuned arm."""
    difference: float | None
    """Finetuned − base; None when an arm has no scored conversation."""
    base_trials: int
    """Scored conversations with the base arm."""
    finetuned_trials: int
    """Scored conversations with the finetuned arm."""


class GroupRow(Closed):
    """One category or one criterion, tested over the same personas; p values are Holm-adjusted within their kind."""

    id: str
    text: str
    """The criterion's question; for a category its id."""
    category: str | None
    """The criterion's category; None for a category."""
    personas: int
    """Personas with a figure in both arms."""
    base_mean: float | None
    """Mean over personas of the category score, or of the share of conversations that met the criterion (NA is met)."""
    finetuned_mean: float | None
    difference: float | None
    p: float | None
    """Two-sided sign-flip p before adjustment."""
    p_holm: float | None
    """The same, Holm-adjusted for all categories, or for all criteria."""
    up: int = 0
    """Personas with a higher figure in the finetuned arm: with `down` the discordant pairs of McNemar's test."""
    down: int = 0


class ArmSummary(Closed):
    """What became of one arm's conversations."""

    conversations: int
    complete: int
    """Conversations that reached their last exchange."""
    empty: int
    """Ended by an answer without text."""
    overflow: int
    """Ended because the next answer did not fit the context."""
    broken: int
    """Ended by an error of the server."""
    scored: int
    """Judged and scored: only these enter a mean."""
    refused: int
    blocked: int
    unparsed: int
    too_long: int
    judge_failed: int
    passed: int
    """Scored conversations that reach the rubric's pass threshold and fail no gate."""
    pass_rate: float | None
    """passed / scored."""
    mean_score: float | None
    """Mean over personas of their mean score."""
    answers: int
    cut_answers: int
    """Answers that ended at `max_answer_tokens`."""
    looping_answers: int
    """Answers that repeat themselves over and over."""
    foreign_answers: int
    """Answers in another language than the user's, as far as that can be told."""
    mean_answer_tokens: float | None


class OneJudge(Closed):
    """What one of two judges alone found."""

    name: str
    """As the rubric calls it."""
    judge: str
    scored: int
    """Conversations that it scored."""
    passed: int
    base_mean: float | None
    """Mean over personas of their mean score by this judge."""
    finetuned_mean: float | None
    difference: float | None


class CriterionDisagreement(Closed):
    """How often two judges answered a criterion differently."""

    id: str
    text: str
    """The criterion's question."""
    answers: int
    """Conversations about which both answered it."""
    differ: int
    first_stricter: int
    """Of those, the conversations in which the first judge gave the stricter answer: NO before NA before YES."""


class TwoJudges(Closed):
    """Where the two judges of a rubric differ."""

    rule: Literal["stricter", "mean"]
    """How two verdicts became one."""
    conversations: int
    """That were judged."""
    both_scored: int
    """That have a score from both: only these have one at all."""
    answers: int
    differ: int
    passed_by_one: int
    """Conversations that only one of them let pass."""
    judges: list[OneJudge]
    criteria: list[CriterionDisagreement]
    """The most disputed first."""


class PairedExample(Closed):
    """Two conversations of one persona and trial, one per arm, to read side by side."""

    label: Literal["largest gain", "median", "largest loss", "win", "loss", "flip"]
    persona: str
    trial: int
    base_id: str
    """Id of the base arm's row in conversations.jsonl."""
    finetuned_id: str
    difference: float
    """Of the scores; where the judge said what it prefers, of the win rate from one half."""
    reasons: list[str] = Field(default_factory=list)
    """Why the judge prefers what it does, for each order; base shown first in the first."""


class Comparison(Closed):
    """The whole of comparison.json."""

    outcome: Outcome
    headline: str
    """One line for people."""
    explanation: str
    """Why this verdict, in one or two sentences."""
    score: Effect
    base: ArmSummary
    finetuned: ArmSummary
    personas: list[PersonaRow]
    categories: list[GroupRow]
    criteria: list[GroupRow]
    safety: list[SafetyRow]
    gaps: list[RateGap]
    """Ways for conversations to get lost: a headline needs the arms to lose alike."""
    faults: list[RateGap]
    """Answers that nobody should get, whatever their score."""
    arms: list[ArmFacts]
    """Base first."""
    unequal: list[str]
    """Facts in which the arms differ although the run allowed it; empty for a fair comparison."""
    unverified: tuple[str, ...] = ()
    """What could not be verified, one sentence part per arm; empty where both are files of the converter."""
    many: ManyArms | None = None
    """All arms, where there are more than base and fine-tuned."""
    judge: str
    judges: list[JudgeCard]
    """Who judged these conversations."""
    two_judges: TwoJudges | None = None
    """Where they differ; None for one judge."""
    preference: Preference | None = None
    """Which of two answers the judge prefers; None where nobody asked. `settings.headline` says what decides."""
    length_matched: LengthMatched | None = None
    roles: RoleCheck | None = None
    """None where nobody was simulated."""
    memorised: Memorised | None = None
    """None where the training text is not known."""
    power: list[PowerAt] = Field(default_factory=list)
    """Of the score's rule."""
    chosen_by: list[JudgeCard]
    """Who chose the transcripts that the model learnt from; empty where that is not known."""
    judge_is_heuristic: bool
    """Offline rules judged, not a model or a person: the report must say so."""
    simulator: str
    existed: bool = False
    """Whether the conversations of both arms existed before."""
    settings: EvaluatorParams
    """What was decided before the data were seen."""
    system_prompt: bool
    """Whether both arms were given the run's system prompt."""
    rubric: str
    """Its name."""
    pass_threshold: float
    examples: list[PairedExample]
    notes: list[str]
    """Warnings for the reader, one sentence each."""
    lineage: dict[str, InputRecord]
    """Where each input came from, by port."""
    fingerprint: str
    """Identity of this result."""

    @property
    def base_is_tuned(self) -> bool:
        """Whether the base arm is itself a fine-tune, as far as its file or its making say."""
        return self.arms[0].tuned_from is not None

    @property
    def same_twice(self) -> bool:
        """Whether both arms hold the same content."""
        base, model = (self.lineage.get(port) for port in ("base", "model"))
        return base is not None and model is not None and base.sha256 == model.sha256

    @property
    def deciding(self) -> Effect:
        """What the verdict rests on."""
        by_preference = self.settings.headline == "preference" and self.preference is not None
        return self.preference.effect if by_preference and self.preference else self.score
