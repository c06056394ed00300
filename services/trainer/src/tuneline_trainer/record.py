"""What is written about a training run: rows and settings, without times, so that equal results have equal files."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from tuneline_trainer import checkpoints
from tuneline_trainer.base_model import BaseModelFacts
from tuneline_trainer.lora import adapter_shapes
from tuneline_trainer.rows import Example, Examples
from tuneline_trainer.setup import Setup
from tuneline_trainer.stage import TrainerOutputs, TrainerParams

STEP_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm")


class Counts(BaseModel):
    """The size of one side of the split, for one pass over it."""

    slices: int
    tokens: int
    supervised_tokens: int


class Split(BaseModel):
    """Both sides."""

    train: Counts
    validation: Counts


class Parameters(BaseModel):
    """Numbers of parameters."""

    trained: int
    base: int


class Losses(BaseModel):
    """First and last of each kind, in nats per token; `validation_before` is the base model's."""

    train_first: float
    train_last: float
    validation_before: float | None
    validation_after: float | None


class TrainingRecord(BaseModel):
    """training.json: what was asked for, what it was settled to, and how much was done. No times and no host."""

    params: dict[str, Any]
    setup: Setup
    examples: Split
    steps: int
    tokens_seen: int
    """Tokens that went through the model in training, all passes, without padding."""
    parameters: Parameters
    losses: Losses


def write_record(
    outputs: TrainerOutputs, params: TrainerParams, setup: Setup, base: BaseModelFacts, examples: Examples,
    checkpoint: Path,
) -> TrainingRecord:  # fmt: skip
    """Write metrics.jsonl and training.json from the last checkpoint and the adapter; return the latter."""
    rows = metric_rows(checkpoints.read_log(checkpoint))
    outputs.metrics.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    record = TrainingRecord(
        params=params.model_dump(mode="json", exclude={"save_steps"}),  # a pace: it may differ for equal results
        setup=setup,
        examples=Split(train=_counts(examples.train), validation=_counts(examples.validation)),
        steps=checkpoints.step_of(checkpoint),
        tokens_seen=checkpoints.tokens_seen(checkpoint),
        parameters=Parameters(
            trained=sum(map(math.prod, adapter_shapes(outputs.adapter).values())),
            base=sum(map(math.prod, base.shapes.values())),
        ),
        losses=_losses(rows),
    )
    outputs.training.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return record


def metric_rows(log: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Return the rows of metrics.jsonl.

    `loss` is the mean over the step's supervised tokens, `validation_loss` the mean over the validation slices of each
    one's mean; both in nats per token.
    """
    rows = []
    for entry in log:
        if "loss" in entry:
            rows.append({name: entry[name] for name in STEP_FIELDS})
        elif "eval_loss" in entry:
            rows.append({"step": entry["step"], "validation_loss": entry["eval_loss"]})
    return rows


def peak_memory_bytes() -> int:
    """Return the most memory that was in use: on the GPU if there is one, else by the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _counts(examples: Sequence[Example]) -> Counts:
    return Counts(
        slices=len(examples),
        tokens=sum(len(e.input_ids) for e in examples),
        supervised_tokens=sum(e.supervised for e in examples),
    )


def _losses(rows: Sequence[dict[str, float]]) -> Losses:
    train = [row["loss"] for row in rows if "loss" in row]
    validation = [row["validation_loss"] for row in rows if "validation_loss" in row]
    return Losses(
        train_first=train[0],
        train_last=train[-1],
        validation_before=validation[0] if validation else None,
        validation_after=validation[-1] if validation else None,
    )
