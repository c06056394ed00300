"""What is written about a training run: rows and settings, without times, so that equal results have equal files."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tuneline.data.io import write_lines, write_record
from tuneline.data.training import ExampleCounts, ExamplesBySplit, Losses, ParameterCounts, TrainingRecord, TrainingRow
from tuneline.model.base_model import read_shapes
from tuneline_trainer import checkpoints
from tuneline_trainer.lora import WEIGHTS
from tuneline_trainer.prepare import Prepared
from tuneline_trainer.rows import Example
from tuneline_trainer.stage import TrainerOutputs


def record_training(outputs: TrainerOutputs, prepared: Prepared, checkpoint: Path) -> TrainingRecord:
    """Write metrics.jsonl and training.json from the last checkpoint and the adapter; return the latter."""
    params, examples = prepared.params, prepared.examples
    rows = list(training_rows(checkpoints.read_log(checkpoint)))
    write_lines(outputs.metrics, rows)
    record = TrainingRecord(
        params=params.model_dump(mode="json", exclude={"save_steps"}),  # a pace: it may differ for equal results
        setup=prepared.setup,
        examples=ExamplesBySplit(train=_counts(examples.train), validation=_counts(examples.validation)),
        steps=checkpoints.step_of(checkpoint),
        tokens_seen=checkpoints.tokens_seen(checkpoint),
        parameters=ParameterCounts(
            trained=sum(map(math.prod, read_shapes(outputs.adapter / WEIGHTS, "adapter").values())),
            base=sum(map(math.prod, prepared.base.shapes.values())),
        ),
        losses=_losses(rows),
    )
    write_record(outputs.training, record)
    return record


def training_rows(log: Sequence[dict[str, float]]) -> Iterator[TrainingRow]:
    """Yield the rows of metrics.jsonl from what transformers has logged."""
    for entry in log:
        step = int(entry["step"])
        if "loss" in entry:
            yield TrainingRow(
                step=step, epoch=entry["epoch"], loss=entry["loss"],
                learning_rate=entry["learning_rate"], grad_norm=entry["grad_norm"],
            )  # fmt: skip
        elif "eval_loss" in entry:
            yield TrainingRow(step=step, validation_loss=entry["eval_loss"])


def peak_memory_bytes() -> int:
    """Return the most memory that was in use: on the GPU if there is one, else by the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def _counts(examples: Sequence[Example]) -> ExampleCounts:
    return ExampleCounts(
        slices=len(examples),
        tokens=sum(len(e.input_ids) for e in examples),
        supervised_tokens=sum(e.supervised for e in examples),
    )


def _losses(rows: Sequence[TrainingRow]) -> Losses:
    train = [row.loss for row in rows if row.loss is not None]
    validation = [row.validation_loss for row in rows if row.validation_loss is not None]
    return Losses(
        train_first=train[0],
        train_last=train[-1],
        validation_before=validation[0] if validation else None,
        validation_after=validation[-1] if validation else None,
    )
