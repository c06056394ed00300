"""What earlier stages of the run did, as the report tells it: the way of the data, the training, the conversion."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from tuneline.data.io import read_record
from tuneline.data.slices import SliceStats
from tuneline.data.verdicts import read_verdicts
from tuneline.errors import UserError
from tuneline.stage import Json
from tuneline_evaluator.comparison.numbers import plain
from tuneline_evaluator.report.flow import StageFile, Step, slice_facts, slice_steps, transcript_steps
from tuneline_evaluator.report.material import ReportMaterial
from tuneline_evaluator.report.plots import Point

T = TypeVar("T")


class Check(StageFile):
    """One check of the conversion."""

    name: str
    file: str
    passed: bool
    detail: str = ""
    value: Json = None
    threshold: Json = None


class Conversion(StageFile):
    """A gguf.json: about `file`, the one that is evaluated, and in `sizes` and `checks` about its siblings too."""

    name: str
    file: str
    sizes: dict[str, int]
    checks: list[Check]


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

    transcripts: list[Step]
    slices: list[Step]
    slicing: list[tuple[str, str]]
    training: Training | None
    base: Conversion
    finetuned: Conversion
    checks: list[CheckRow]


class _MetricRow(StageFile):
    step: float
    loss: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None


def read_earlier(material: ReportMaterial) -> Earlier:
    """Read what there is. Raises UserError that names a file which is not what its stage writes."""
    base, finetuned = (_read(path, TypeAdapter(Conversion)) for path in (material.base_info, material.model_info))
    stats = read_record(material.slices_stats, SliceStats) if material.slices_stats else None
    return Earlier(
        transcripts=transcript_steps(read_verdicts(material.assessed) if material.assessed else None, stats),
        slices=slice_steps(stats) if stats else [],
        slicing=slice_facts(stats) if stats else [],
        training=_training(material),
        base=base,
        finetuned=finetuned,
        checks=_check_rows(base, finetuned),
    )


def _training(material: ReportMaterial) -> Training | None:
    rows = _read_lines(material.training_metrics, TypeAdapter(_MetricRow)) if material.training_metrics else []
    record = _read(material.training, TypeAdapter(dict[str, Json])) if material.training else {}
    if not rows and not record:
        return None
    return Training(
        losses=[Point(row.step, row.loss) for row in rows if row.loss is not None],
        validation=[Point(row.step, row.validation_loss) for row in rows if row.validation_loss is not None],
        rates=[Point(row.step, row.learning_rate) for row in rows if row.learning_rate is not None],
        facts=flat(record),
    )


def _check_rows(base: Conversion, finetuned: Conversion) -> list[CheckRow]:
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


def _read(path: Path, shape: TypeAdapter[T]) -> T:
    try:
        return shape.validate_json(path.read_bytes())
    except ValidationError as error:
        raise _not_as_written(path, error) from None


def _read_lines(path: Path, shape: TypeAdapter[T]) -> list[T]:
    with path.open("rb") as lines:
        try:
            return [shape.validate_json(line) for line in lines if line.strip()]
        except ValidationError as error:
            raise _not_as_written(path, error) from None


def _not_as_written(path: Path, error: ValidationError) -> UserError:
    """Name the first field at fault; never its value, which may quote a transcript."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "content"
    return UserError(f"{path.name}: {field}: {first['type']}. Let its stage make the file, or leave this input out.")
