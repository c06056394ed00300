"""Train the adapter: check everything, train or go on training, write what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from tuneline.data.io import write_lines, write_record
from tuneline.data.training import ExampleCounts, ExamplesBySplit, Losses, ParameterCounts, TrainingRecord, TrainingRow
from tuneline.model.weights import read_shapes
from tuneline.stage import Context, Json, Metrics
from tuneline_trainer.examples.rows import Row
from tuneline_trainer.model.memory import peak_bytes
from tuneline_trainer.record import checkpoints
from tuneline_trainer.record.metrics import rows_of
from tuneline_trainer.stage import TrainerInputs, TrainerOutputs, TrainerParams
from tuneline_trainer.training.prepare import Prepared, prepare
from tuneline_trainer.training.sft import run_training


def train_adapter(params: TrainerParams, inputs: TrainerInputs, outputs: TrainerOutputs, context: Context) -> Metrics:
    """Fine-tune `inputs.base_model` on `inputs.slices` and write the adapter and its record.

    All that can be refused is refused before the model is loaded. Goes on from the newest whole checkpoint; if the last
    one is there already, nothing is loaded. Raises UserError, and Temporary after SIGTERM.
    """
    prepared = prepare(params, inputs, context)
    started = time.monotonic()
    checkpoint = checkpoints.newest(context.state, prepared.setup)
    from_step = checkpoints.step_of(checkpoint) if checkpoint else 0
    from_tokens = checkpoints.state_of(checkpoint).num_input_tokens_seen if checkpoint else 0
    context.progress(from_step, prepared.steps)
    context.tell(f"loading the model{f', going on from step {from_step}' if from_step else ''}")
    peak = peak_bytes()
    if not _is_last(checkpoint, prepared):
        peak = run_training(prepared, context, checkpoint, outputs.metrics)
        checkpoint = checkpoints.newest(context.state, prepared.setup)
    if checkpoint is None or not _is_last(checkpoint, prepared):
        raise RuntimeError("training ended without its last checkpoint")
    seconds = time.monotonic() - started
    best = params.keep == "best" and (checkpoint / checkpoints.BEST).exists()
    weights = checkpoints.BEST if best else checkpoints.WEIGHTS
    checkpoints.write_adapter(checkpoint, weights, outputs.adapter, prepared.base_sha256)
    record = _record(outputs, prepared, checkpoint)
    counts: dict[str, Json] = {
        **record.losses.model_dump(),
        "steps": record.steps,
        "resumed_from_step": from_step,
        "device": prepared.setup.device,
        "base_parameters": record.parameters.base,
        "tokens_per_second": round((record.tokens_seen - from_tokens) / seconds, 1),
        "peak_memory_bytes": peak,
        "processes": prepared.processes,
        "estimated_memory_bytes": prepared.memory.total,
    }
    return Metrics(headline=_headline(record), counts=counts)


def _is_last(checkpoint: Path | None, prepared: Prepared) -> bool:
    if checkpoint is None:
        return False
    done = checkpoints.step_of(checkpoint) == prepared.steps
    return done or checkpoints.out_of_patience(checkpoints.state_of(checkpoint), prepared.params.patience)


def _record(outputs: TrainerOutputs, prepared: Prepared, checkpoint: Path) -> TrainingRecord:
    """Write metrics.jsonl and training.json, without times, so that equal results have equal files."""
    state, examples = checkpoints.state_of(checkpoint), prepared.examples
    rows = rows_of(state.log_history, prepared.steps_per_epoch)
    write_lines(outputs.metrics, rows)
    record = TrainingRecord(
        # These are pace: they may differ for equal results.
        params=prepared.params.model_dump(mode="json", exclude={"processes", "save_steps", "report_to"}),
        setup=prepared.setup,
        examples=ExamplesBySplit(train=_counts(examples.train), validation=_counts(examples.validation)),
        batching=examples.batching,
        batching_reason=examples.batching_reason,
        answers_found_by=examples.found_by,
        learnt_per_third=examples.learnt_per_third,
        steps=state.global_step,
        kept_step=(checkpoints.best_step(state) if prepared.params.keep == "best" else None) or state.global_step,
        tokens_seen=state.num_input_tokens_seen,
        parameters=ParameterCounts(
            trained=sum(map(math.prod, read_shapes(outputs.adapter / checkpoints.WEIGHTS, "adapter").values())),
            base=sum(map(math.prod, prepared.base.shapes.values())),
        ),
        losses=_losses(rows),
    )
    write_record(outputs.training, record)
    return record


def _counts(rows: Sequence[Row]) -> ExampleCounts:
    return ExampleCounts(
        slices=sum(row.slices for row in rows),
        rows=len(rows),
        tokens=sum(row.length for row in rows),
        supervised_tokens=sum(row.supervised for row in rows),
    )


def _losses(rows: Sequence[TrainingRow]) -> Losses:
    train = [row.loss for row in rows if row.loss is not None]
    validation: list[float | None] = [row.validation_loss for row in rows if row.validation_loss is not None] or [None]
    first, last, best = validation[0], validation[-1], min(filter(None, validation[1:]), default=None)
    return Losses(
        train_first=train[0],
        train_last=train[-1],
        validation_before=first,
        validation_after=last,
        validation_best=best,
    )


def _headline(record: TrainingRecord) -> str:
    losses, steps, kept = record.losses, record.steps, record.kept_step
    slices = f"over {record.examples.train.slices} slices"
    shipped = record.shipped_loss
    if losses.validation_before is None or losses.validation_after is None or losses.validation_best is None:
        return f"training loss {losses.train_first:.3f} → {losses.train_last:.3f} in {steps} steps {slices}"
    headline = f"validation loss {losses.validation_before:.3f} → {shipped:.3f} in {kept} steps {slices}"
    if kept < steps:
        return f"{headline}, the best of {steps} ({losses.validation_after:.3f} at the end: fewer epochs do)"
    if losses.validation_best < losses.validation_after:
        return f"{headline}, not the best ({losses.validation_best:.3f}): fewer epochs, or `keep`=best"
    return headline
