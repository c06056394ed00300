"""What earlier stages of the run did, as the report tells it: the way of the data, the training, the conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tuneline.judge import Verdict
from tuneline.stage import Json, UserError
from tuneline_evaluator.material import ReportMaterial
from tuneline_evaluator.numbers import count, plain, plural
from tuneline_evaluator.plots import Point

T = TypeVar("T")


class _File(BaseModel):
    """A file of another stage, of which the report reads only some fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Check(_File):
    """One check of the conversion."""

    name: str
    passed: bool
    detail: str = ""
    value: Json = None
    threshold: Json = None


class Conversion(_File):
    """A gguf.json."""

    name: str
    file: str
    sizes: dict[str, int]
    metadata: dict[str, Json]
    checks: list[Check]


class CheckRow(NamedTuple):
    """One check in both arms; None where an arm did not need it."""

    name: str
    detail: str
    base: Check | None
    finetuned: Check | None


class Step(NamedTuple):
    """One bar of the way from transcripts to slices."""

    label: str
    kept: int
    before: int
    """What came in from the step before."""
    whole: int
    """What the full width stands for."""
    kind: Literal["bar", "kept", "held"]
    remark: str
    """What was lost here and why, or what is worth knowing."""


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


class _MetricRow(_File):
    step: float
    loss: float | None = None
    learning_rate: float | None = None
    validation_loss: float | None = None


def read_earlier(material: ReportMaterial) -> Earlier:
    """Read what there is. Raises UserError that names a file which is not what its stage writes."""
    base, finetuned = (_read(path, TypeAdapter(Conversion)) for path in (material.base_info, material.model_info))
    stats = _read(material.slices_stats, TypeAdapter(SliceStats)) if material.slices_stats else None
    return Earlier(
        transcripts=_transcript_steps(_read_lines(material.assessed, TypeAdapter(Verdict))) if material.assessed else [],
        slices=_slice_steps(stats) if stats else [],
        slicing=[],
        training=_training(material),
        base=base,
        finetuned=finetuned,
        checks=_check_rows(base, finetuned),
    )


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
