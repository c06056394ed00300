"""What earlier stages of the run did, as the report shows it: the way of the data, the training, the conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from tuneline.data.io import read_lines, read_record
from tuneline.data.model_facts import Check, ModelFacts
from tuneline.data.slices import GeneratedCount, SliceStats
from tuneline.data.training import TrainingRecord, TrainingRow
from tuneline.data.verdicts import Verdict
from tuneline.stage import Json
from tuneline_evaluator.comparison.numbers import count, plain, plural, rate
from tuneline_evaluator.report.plots import Point
from tuneline_evaluator.stage import EvaluatorInputs


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


class Training(NamedTuple):
    """The training as curves and facts."""

    losses: list[Point]
    validation: list[Point]
    rates: list[Point]
    kept: Point | None
    """The validation of the adapter that ships, where it is not the last one."""
    facts: list[tuple[str, str]]
    """Every entry of training.json, flat."""


class Earlier(NamedTuple):
    """All of it; what a run did not make is None or empty."""

    transcripts: list[FlowStep]
    slices: list[FlowStep]
    slicing: list[tuple[str, str]]
    generated: list[str]
    """What of it a model wrote."""
    training: Training | None
    finetuned: ModelFacts | None
    """Of the conversion."""
    checks: list[tuple[str, Check | None, Check | None]]
    """Each check with base and finetuned; None where an arm did not need it."""


def read_verdicts(inputs: EvaluatorInputs) -> list[Verdict] | None:
    """Return the assessor's verdicts; None where it is not part of the run. Raises UserError as `read_earlier` does."""
    return list(read_lines(inputs.assessed, Verdict)) if inputs.assessed else None


def read_earlier(inputs: EvaluatorInputs, verdicts: Sequence[Verdict] | None) -> Earlier:
    """Read what else there is. Raises UserError that names a file which is not what its stage writes."""
    infos = inputs.base_info, inputs.model_info
    base, finetuned = (read_record(path, ModelFacts) if path else None for path in infos)
    stats = read_record(inputs.slices_stats, SliceStats) if inputs.slices_stats else None
    return Earlier(
        transcripts=transcript_steps(verdicts, stats),
        slices=slice_steps(stats) if stats else [],
        slicing=slice_facts(stats) if stats else [],
        generated=[generated_in_words(one, stats.sliced) for one in stats.generated] if stats else [],
        training=_training(inputs),
        finetuned=finetuned,
        checks=_check_rows(base, finetuned),
    )


def _training(inputs: EvaluatorInputs) -> Training | None:
    rows = list(read_lines(inputs.training_metrics, TrainingRow)) if inputs.training_metrics else []
    record = read_record(inputs.training, TrainingRecord) if inputs.training else None
    if not rows and not record:
        return None
    early = record is not None and record.kept_step < record.steps
    return Training(
        losses=[Point(row.step, row.loss) for row in rows if row.loss is not None],
        validation=[Point(row.step, row.validation_loss) for row in rows if row.validation_loss is not None],
        rates=[Point(row.step, row.learning_rate) for row in rows if row.learning_rate is not None],
        kept=Point(record.kept_step, record.shipped_loss) if record and early and record.shipped_loss else None,
        facts=flat(record.model_dump(mode="json")) if record else [],
    )


def _check_rows(base: ModelFacts | None, finetuned: ModelFacts | None) -> list[tuple[str, Check | None, Check | None]]:
    """Join the checks of the evaluated files by name, in the order of the fine-tuned model's."""
    theirs, ours = (
        {check.name: check for check in arm.checks if check.file == arm.file} if arm else {}
        for arm in (base, finetuned)
    )
    return [(name.replace("_", " "), theirs.get(name), ours.get(name)) for name in {**ours, **theirs}]


def flat(value: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Return every entry of nested settings with a readable name: `settings · lora · rank`."""
    if not isinstance(value, dict):
        return [(prefix, plain(value))]
    return [
        entry
        for key, item in value.items()
        for entry in flat(item, f"{prefix} · {key}".removeprefix(" · ").replace("_", " "))
    ]


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
        why = _kinds(stats.rejected_transcripts)
        steps.append(FlowStep("Gave slices", stats.sliced, stats.passed, steps[0].whole, "bar", why))
    return steps


def slice_steps(stats: SliceStats) -> list[FlowStep]:
    """Return the way of the slices into training and validation."""
    cut = stats.slices + sum(stats.rejected.values())
    train, held = stats.splits["train"], stats.splits["validation"]
    return [
        FlowStep("Cut", cut, cut, cut, "bar", f"from {plural(stats.sliced, 'transcript')}"),
        FlowStep("Kept", stats.slices, cut, cut, "bar", _kinds(stats.rejected)),
        FlowStep(
            "For training", train.slices, train.slices, cut, "kept", f"of {plural(train.transcripts, 'transcript')}"
        ),
        FlowStep(
            "For validation", held.slices, held.slices, cut, "held", f"of {plural(held.transcripts, 'transcript')}"
        ),
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


def generated_in_words(one: GeneratedCount, whole: int) -> str:
    """Say what a model wrote, of all transcripts that were learnt from."""
    return f"{rate(one.transcripts, whole)} were written by a model: {one.how.words}"


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


def _kinds(lost: Mapping[str, int]) -> str:
    """Say what was lost: `below the threshold: 3, refused: 1`; empty when nothing was."""
    return ", ".join(f"{kind}: {count(n)}" for kind, n in lost.items() if n)
