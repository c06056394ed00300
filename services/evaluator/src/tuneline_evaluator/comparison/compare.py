"""Puts the comparison together: every figure of the report, from the judged conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.data.rubric import Rubric
from tuneline.stage import InputRecord
from tuneline_evaluator.comparison.figures import Comparison, Settings
from tuneline_evaluator.comparison.scores import (
    Judged,
    arm_summary,
    category_rows,
    criterion_rows,
    paired_examples,
    pairs,
    persona_rows,
    safety_rows,
    score,
    scored_of,
)
from tuneline_evaluator.comparison.statistics import effect
from tuneline_evaluator.comparison.verdict import decide, notes, rate_gaps
from tuneline_evaluator.conversations.arms import ArmFacts, unequal_facts
from tuneline_evaluator.conversations.personas import Persona


class Frame(NamedTuple):
    """What was fixed before a single conversation: it explains the figures and is no result itself."""

    personas: Sequence[Persona]
    rubric: Rubric
    settings: Settings
    base: ArmFacts
    finetuned: ArmFacts
    judge: str
    judge_is_heuristic: bool
    simulator: str
    simulator_reacts: bool
    lineage: Mapping[str, InputRecord]
    fingerprint: str


def compare(judged: Sequence[Judged], frame: Frame) -> Comparison:
    """Return the comparison that follows from `judged`."""
    settings, scored = frame.settings, scored_of(judged)
    base, finetuned = arm_summary(judged, "base"), arm_summary(judged, "finetuned")
    whole = effect([pair.difference for pair in pairs(scored, score)], settings.significance)
    safety = safety_rows(scored, frame.rubric, settings.safety_margin, settings.significance)
    gaps = rate_gaps(base, finetuned, settings.significance)
    decision = decide(whole, safety, gaps, settings)
    return Comparison(
        outcome=decision.outcome,
        headline=decision.headline,
        explanation=decision.explanation,
        score=whole,
        base=base,
        finetuned=finetuned,
        personas=persona_rows(scored, frame.personas),
        categories=category_rows(scored, frame.rubric),
        criteria=criterion_rows(scored, frame.rubric),
        safety=safety,
        gaps=gaps,
        arms=[frame.base, frame.finetuned],
        unequal=unequal_facts(frame.base, frame.finetuned),
        judge=frame.judge,
        judge_is_heuristic=frame.judge_is_heuristic,
        simulator=frame.simulator,
        settings=settings,
        examples=paired_examples(scored),
        notes=[*_frame_notes(frame, whole.personas), *notes(whole, (base, finetuned), safety, settings)],
        lineage=dict(frame.lineage),
        fingerprint=frame.fingerprint,
    )


def _frame_notes(frame: Frame, paired: int) -> Iterator[str]:
    if unequal := unequal_facts(frame.base, frame.finetuned):
        yield (
            f"The arms differ in more than their weights, and the run allowed it: {'; '.join(unequal)}. "
            "The difference of the scores is not the effect of the training alone."
        )
    if frame.judge_is_heuristic:
        yield (
            "Offline rules judged the conversations, not a model or a person: the scores show that the chain works "
            "and say little about quality."
        )
    if not frame.simulator_reacts:
        yield "The simulated users spoke from scripts and did not react to the answers."
    if paired < len(frame.personas):
        yield (
            f"{len(frame.personas) - paired} of {len(frame.personas)} personas have no scored conversation in one arm "
            "and are left out of every difference."
        )
