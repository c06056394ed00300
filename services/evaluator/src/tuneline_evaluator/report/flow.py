"""The way from transcripts to slices, step by step, with what was lost on it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tuneline.data.slices import Side, SliceStats
from tuneline.data.verdicts import Verdict
from tuneline_evaluator.comparison.numbers import count, plural


class FlowStep(NamedTuple):
    """One bar."""

    label: str
    kept: int
    before: int
    """What came in from the step before."""
    whole: int
    """What the full width stands for."""
    kind: Literal["bar", "kept", "held"]
    remark: str
    """What was lost here and why, or what else is worth knowing."""


def transcript_steps(verdicts: Sequence[Verdict] | None, stats: SliceStats | None) -> list[FlowStep]:
    """Return the way of the transcripts as far as it is known."""
    steps = []
    if verdicts is not None:
        steps = [*_judged_steps(verdicts)]
    elif stats is not None:
        read, passed = stats.transcripts, stats.passed
        steps = [
            FlowStep("Read", read, read, read, "bar", ""),
            FlowStep("Passed the rubric", passed, read, read, "bar", ""),
        ]
    if stats is not None:
        # A transcript that could not be read never got a verdict: it is in no step before this one.
        why = {kind: n for kind, n in stats.rejected_transcripts.items() if kind != "unreadable"}
        steps.append(FlowStep("Gave slices", stats.sliced, stats.passed, steps[0].whole, "bar", _kinds(why)))
    return steps


def slice_steps(stats: SliceStats) -> list[FlowStep]:
    """Return the way of the slices into training and validation."""
    cut = stats.slices + sum(stats.rejected.values())
    train, validation = stats.splits["train"], stats.splits["validation"]
    return [
        FlowStep("Cut", cut, cut, cut, "bar", f"from {plural(stats.sliced, 'transcript')}"),
        FlowStep("Kept", stats.slices, cut, cut, "bar", _kinds(stats.rejected)),
        FlowStep("For training", train.slices, train.slices, cut, "kept", _of(train)),
        FlowStep("For validation", validation.slices, validation.slices, cut, "held", _of(validation)),
    ]


def slice_facts(stats: SliceStats) -> list[tuple[str, str]]:
    """Return what else is worth knowing about the training set."""
    tokens, per = stats.tokens, stats.slices_per_transcript
    facts = [
        ("Slices per transcript", f"{count(per.min)} to {count(per.max)}, mean {per.mean:,.1f}"),
        ("Tokens per slice", f"{count(tokens.min)} to {count(tokens.max)}, mean {count(tokens.mean)}"),
        ("Most tokens allowed", count(stats.max_tokens)),
        ("Tokens for training", count(stats.splits["train"].tokens)),
        ("Tokens for validation", count(stats.splits["validation"].tokens)),
        ("Shortened slices", f"{count(stats.truncated.slices)}, by {plural(stats.truncated.exchanges, 'exchange')}"),
        ("Groups of near-duplicates", count(len(stats.near_duplicates))),
    ]
    if stats.personas.read:
        facts.append(("Personas kept", f"{count(stats.personas.kept)} of {count(stats.personas.read)}"))
    return facts


def _judged_steps(verdicts: Sequence[Verdict]) -> tuple[FlowStep, FlowStep, FlowStep]:
    whole = len(verdicts)
    scored = [verdict for verdict in verdicts if verdict.status == "scored"]
    failed = [verdict for verdict in scored if not verdict.passed]
    by_gate = Counter(gate for verdict in failed for gate in verdict.failed_gates)
    low = sum(not verdict.failed_gates for verdict in failed)
    why = {"below the threshold": low} if low else {}
    if by_gate:
        gates = ", ".join(f"{gate} {n}" for gate, n in sorted(by_gate.items()))
        why[f"failed a gate ({gates})"] = len(failed) - low
    unscored = Counter(verdict.status.replace("_", " ") for verdict in verdicts if verdict.status != "scored")
    passed = len(scored) - len(failed)
    return (
        FlowStep("Judged", whole, whole, whole, "bar", ""),
        FlowStep("Scored", len(scored), whole, whole, "bar", _kinds(unscored)),
        FlowStep("Passed the rubric", passed, len(scored), whole, "bar", _kinds(why)),
    )


def _of(side: Side) -> str:
    return f"of {plural(side.transcripts, 'transcript')}"


def _kinds(lost: Mapping[str, int]) -> str:
    """Say what was lost: `below the threshold: 3, refused: 1`; empty when nothing was."""
    return ", ".join(f"{kind}: {count(n)}" for kind, n in lost.items() if n)
