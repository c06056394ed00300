"""Checkpoints that are whole or not there.

The state folder while training::

    saving.part/checkpoint-30/…   being written; invisible to everyone else
    checkpoint-20/                whole: adapter, best adapter so far, optimiser, schedule, log …
    checkpoint-10/                whole: what is left if the newest one turns out to be damaged

`whole.json` is written last, with the hash of every other file and what the training was set up with; then the folder
is renamed into its place. Without it, training would resume from a checkpoint with a missing file, and end elsewhere.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import structlog
import torch
from transformers import TrainerState
from transformers.trainer_pt_utils import safe_globals

from tuneline.data.io import Closed, file_sha256
from tuneline.data.training import TrainingSetup
from tuneline.model.weights import read_shapes

SAVING = "saving.part"
LIST = "whole.json"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BEST = "best_adapter_model.safetensors"
"""The adapter of the lowest validation loss so far; without a validation it is not there."""
KEPT = 2
PICKLES = ("optimizer.pt", "scheduler.pt")

log = structlog.get_logger()


class Whole(Closed):
    """What `whole.json` says: the sha256 of every file of the checkpoint, by name, and the setup it was made with."""

    setup: TrainingSetup
    files: dict[str, str]


def saving_folder(state: Path, checkpoint: Path | None) -> Path:
    """Return the folder that checkpoints are written in, with nothing but the best adapter that `checkpoint` holds.

    What a kill left half-done is cleared away.
    """
    for half_done in state.glob("*.part"):
        shutil.rmtree(half_done)
    (state / SAVING).mkdir()
    if checkpoint and (checkpoint / BEST).exists():
        shutil.copyfile(checkpoint / BEST, state / SAVING / BEST)
    return state / SAVING


def publish(written: Path, state: Path, setup: TrainingSetup) -> None:
    """Make a written checkpoint a whole one, with the best adapter so far, then drop all but the last KEPT."""
    if (best := written.parent / BEST).exists():
        shutil.copyfile(best, written / BEST)
    whole = Whole(setup=setup, files=_hashes(written))
    (written / LIST).write_text(whole.model_dump_json(indent=1), encoding="utf-8")
    written.rename(state / written.name)
    for old in _by_age(state)[:-KEPT]:
        _drop(old)


def newest(state: Path, setup: TrainingSetup) -> Path | None:
    """Return the newest checkpoint that can be gone on from; those after it are named in the log and dropped."""
    for checkpoint in reversed(_by_age(state)):
        problem = _problem(checkpoint, setup)
        if problem is None:
            return checkpoint
        log.warning("a checkpoint is left out", entry=checkpoint.name, cause=problem)
        _drop(checkpoint)
    return None


def step_of(checkpoint: Path) -> int:
    """Return the number of optimiser steps that a checkpoint has seen."""
    return int(checkpoint.name.rpartition("-")[2])


def state_of(checkpoint: Path) -> TrainerState:
    """Return what the trainer had logged and counted when it wrote this checkpoint."""
    state: TrainerState = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state


def validations(state: TrainerState) -> dict[int, float]:
    """Return the validation loss by step, in order, without that of the base model."""
    return {int(row["step"]): row["eval_loss"] for row in state.log_history if row.get("step") and "eval_loss" in row}


def best_step(state: TrainerState) -> int | None:
    """Return the step of the lowest validation loss, the first of equals; None without a validation."""
    losses = validations(state)
    return min(losses, key=lambda step: (losses[step], step)) if losses else None


def out_of_patience(state: TrainerState, patience: int | None) -> bool:
    """Tell whether the last `patience` validations were all no better than one before them."""
    steps, best = list(validations(state)), best_step(state)
    return patience is not None and best is not None and len(steps) - 1 - steps.index(best) >= patience


def write_adapter(checkpoint: Path, weights: str, destination: Path, base_sha256: str) -> None:
    """Copy the adapter in file `weights` of a checkpoint in a form whose bytes depend on the result alone.

    PEFT writes the targets in the order of a set, which is another one in every process, and the base model's local
    path. The targets are sorted, and the base is named by its content: its address may differ for equal results.
    """
    shutil.copyfile(checkpoint / weights, destination / WEIGHTS)
    config = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    config["base_model_name_or_path"] = f"base_model@sha256:{base_sha256[:12]}"
    (destination / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _problem(checkpoint: Path, setup: TrainingSetup) -> str | None:
    """Return why training cannot go on from a checkpoint; its files are opened as they will be."""
    try:
        whole = Whole.model_validate_json((checkpoint / LIST).read_bytes())
        if whole.files != _hashes(checkpoint):
            return "a file is missing or damaged"
        if whole.setup != setup:
            return "made with other settings or libraries"
        state_of(checkpoint)
        read_shapes(checkpoint / WEIGHTS, "checkpoint")
        with safe_globals():  # type: ignore[no-untyped-call]
            for name in PICKLES:
                torch.load(checkpoint / name, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001  (a damaged or planted file can make torch raise anything)
        return f"it cannot be loaded ({type(error).__name__})"
    return None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in checkpoint.iterdir() if path.name != LIST}


def _by_age(state: Path) -> list[Path]:
    found = state.glob("checkpoint-*")
    return sorted((path for path in found if path.name.removeprefix("checkpoint-").isdecimal()), key=step_of)


def _drop(checkpoint: Path) -> None:
    """Delete a checkpoint; it stops being one before its first file goes."""
    gone = checkpoint.with_name(f"{checkpoint.name}.part")
    checkpoint.rename(gone)
    shutil.rmtree(gone)
