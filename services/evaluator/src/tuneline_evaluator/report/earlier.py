"""What earlier stages of the run did, as the report shows it: the way of the data, the training, the conversion."""

from __future__ import annotations

from typing import NamedTuple

from tuneline.data.io import read_lines, read_record
from tuneline.data.model_facts import Check, ModelFacts
from tuneline.data.slices import SliceStats
from tuneline.data.training import TrainingRecord, TrainingRow
from tuneline.data.verdicts import Verdict
from tuneline.stage import Json
from tuneline_evaluator.comparison.numbers import plain
from tuneline_evaluator.report.flow import FlowStep, slice_facts, slice_steps, transcript_steps
from tuneline_evaluator.report.plots import Point
from tuneline_evaluator.stage import EvaluatorInputs


class CheckRow(NamedTuple):
    """One check in both arms; None where an arm did not need it."""

    name: str
    base: Check | None
    finetuned: Check | None


class Training(NamedTuple):
    """The training as curves and facts."""

    losses: list[Point]
    validation: list[Point]
    rates: list[Point]
    facts: list[tuple[str, str]]
    """Every entry of training.json, flat."""


class Earlier(NamedTuple):
    """All of it; what a run did not make is None or empty."""

    transcripts: list[FlowStep]
    slices: list[FlowStep]
    slicing: list[tuple[str, str]]
    training: Training | None
    base: ModelFacts
    finetuned: ModelFacts
    checks: list[CheckRow]


def read_earlier(inputs: EvaluatorInputs) -> Earlier:
    """Read what there is. Raises UserError that names a file which is not what its stage writes."""
    base, finetuned = (read_record(path, ModelFacts) for path in (inputs.base_info, inputs.model_info))
    stats = read_record(inputs.slices_stats, SliceStats) if inputs.slices_stats else None
    return Earlier(
        transcripts=transcript_steps(list(read_lines(inputs.assessed, Verdict)) if inputs.assessed else None, stats),
        slices=slice_steps(stats) if stats else [],
        slicing=slice_facts(stats) if stats else [],
        training=_training(inputs),
        base=base,
        finetuned=finetuned,
        checks=_check_rows(base, finetuned),
    )


def _training(inputs: EvaluatorInputs) -> Training | None:
    rows = list(read_lines(inputs.training_metrics, TrainingRow)) if inputs.training_metrics else []
    record = read_record(inputs.training, TrainingRecord).model_dump(mode="json") if inputs.training else {}
    if not rows and not record:
        return None
    return Training(
        losses=[Point(row.step, row.loss) for row in rows if row.loss is not None],
        validation=[Point(row.step, row.validation_loss) for row in rows if row.validation_loss is not None],
        rates=[Point(row.step, row.learning_rate) for row in rows if row.learning_rate is not None],
        facts=flat(record),
    )


def _check_rows(base: ModelFacts, finetuned: ModelFacts) -> list[CheckRow]:
    """Join the checks of the evaluated files by name, in the order of the fine-tuned model's."""
    theirs, ours = ({check.name: check for check in arm.checks if check.file == arm.file} for arm in (base, finetuned))
    return [CheckRow(name.replace("_", " "), theirs.get(name), ours.get(name)) for name in {**ours, **theirs}]


def flat(value: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Return every entry of nested settings with a readable name: `settings · lora · rank`."""
    if not isinstance(value, dict):
        return [(prefix, plain(value))]
    return [
        entry
        for key, item in value.items()
        for entry in flat(item, f"{prefix} · {key}".removeprefix(" · ").replace("_", " "))
    ]
