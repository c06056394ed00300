"""Train the adapter: check everything, train or go on training, write what came out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from tuneline.data.training import TrainingRecord
from tuneline.stage import Context, Json, Metrics
from tuneline_trainer import checkpoints
from tuneline_trainer.lora import write_adapter
from tuneline_trainer.prepare import Prepared, prepare
from tuneline_trainer.record import peak_memory_bytes, record_training
from tuneline_trainer.sft import run_training, schedule_of
from tuneline_trainer.stage import TrainerInputs, TrainerOutputs, TrainerParams


def train_adapter(params: TrainerParams, inputs: TrainerInputs, outputs: TrainerOutputs, context: Context) -> Metrics:
    """Fine-tune `inputs.base_model` on `inputs.slices` and write the adapter and its record.

    All that can be refused is refused before the model is loaded. Raises UserError, and Temporary after SIGTERM.
    """
    prepared = prepare(params, inputs, context)
    trained = train_to_the_end(prepared, context)
    write_adapter(trained.checkpoint, outputs.adapter, prepared.base_sha256)
    record = record_training(outputs, prepared, trained.checkpoint)
    return summarise(prepared, trained, record)


class Trained(NamedTuple):
    """The end of the training, and what this attempt did for it: from which step, how many tokens, in which time."""

    checkpoint: Path
    from_step: int
    tokens: int
    seconds: float


def train_to_the_end(prepared: Prepared, context: Context) -> Trained:
    """Go on from the newest whole checkpoint until the last one is there; if it is there already, load nothing."""
    started = time.monotonic()
    total = schedule_of(prepared).total
    checkpoint = checkpoints.newest(context.state, prepared.setup)
    from_step = checkpoints.step_of(checkpoint) if checkpoint else 0
    from_tokens = checkpoints.tokens_seen(checkpoint) if checkpoint else 0
    context.progress(from_step, total)
    if from_step < total:
        run_training(prepared, context, checkpoint)
        checkpoint = checkpoints.newest(context.state, prepared.setup)
    if checkpoint is None or checkpoints.step_of(checkpoint) != total:
        raise RuntimeError("training ended without its last checkpoint")
    tokens = checkpoints.tokens_seen(checkpoint) - from_tokens
    return Trained(checkpoint, from_step, tokens, time.monotonic() - started)


def summarise(prepared: Prepared, trained: Trained, record: TrainingRecord) -> Metrics:
    """Return what belongs to this attempt and this machine, and one line for people."""
    losses = record.losses
    if losses.validation_before is not None and losses.validation_after is not None:
        went = f"validation loss {losses.validation_before:.3f} → {losses.validation_after:.3f}"
    else:
        went = f"training loss {losses.train_first:.3f} → {losses.train_last:.3f}"
    counts: dict[str, Json] = {
        **losses.model_dump(),
        "steps": record.steps,
        "resumed_from_step": trained.from_step,
        "tokens_per_second": round(trained.tokens / trained.seconds, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "estimated_memory_bytes": prepared.memory.total,
    }
    headline = f"{went} in {record.steps} steps over {record.examples.train.slices} slices"
    return Metrics(headline=headline, counts=counts)
