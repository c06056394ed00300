"""Checkpoints that are whole or not there.

The state folder while training::

    saving.part/checkpoint-30/…   being written; invisible to everyone else
    checkpoint-20/                whole: adapter, optimiser, schedule, random numbers, log, and whole.json
    checkpoint-10/                whole: what is left if the newest one turns out to be damaged

`whole.json` is written last, with the hash of every other file and what the training was set up with; then the folder
is renamed into its place. Without it, training would resume from a checkpoint with a missing file, and end elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog
import torch
from pydantic import BaseModel, ConfigDict
from transformers import TrainerState
from transformers.trainer_pt_utils import safe_globals

from tuneline.data.training import TrainingSetup
from tuneline.model.base_model import read_shapes

SAVING = "saving.part"
LIST = "whole.json"
KEPT = 2
PICKLES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")

log = structlog.get_logger()


class Whole(BaseModel):
    """What `whole.json` says: the sha256 of every file of the checkpoint, by name, and the setup it was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setup: TrainingSetup
    files: dict[str, str]


def saving_folder(state: Path) -> Path:
    """Return the folder that checkpoints are written in, empty, and clear away what a kill left half-done."""
    for half_done in state.glob("*.part"):
        shutil.rmtree(half_done)
    (state / SAVING).mkdir()
    return state / SAVING


def publish(written: Path, state: Path, setup: TrainingSetup) -> None:
    """Make a written checkpoint a whole one, then drop all but the last KEPT."""
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


def read_log(checkpoint: Path) -> list[dict[str, float]]:
    """Return the rows that the trainer logged up to this checkpoint, in order."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return list(state["log_history"])


def tokens_seen(checkpoint: Path) -> int:
    """Return the tokens that went through the model in training up to this checkpoint, without padding."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["num_input_tokens_seen"])


def _problem(checkpoint: Path, setup: TrainingSetup) -> str | None:
    """Return why training cannot go on from a checkpoint; its files are opened as they will be."""
    try:
        whole = Whole.model_validate_json((checkpoint / LIST).read_bytes())
        if whole.files != _hashes(checkpoint):
            return "a file is missing or damaged"
        if whole.setup != setup:
            return "made with other settings or libraries"
        TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        read_shapes(checkpoint / "adapter_model.safetensors", "checkpoint")
        with safe_globals():  # type: ignore[no-untyped-call]
            for name in PICKLES:
                torch.load(checkpoint / name, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # noqa: BLE001  (a damaged or planted file can make torch raise anything)
        return f"it cannot be loaded ({type(error).__name__})"
    return None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in _files(checkpoint)}


def _files(checkpoint: Path) -> Iterator[Path]:
    return (path for path in sorted(checkpoint.iterdir()) if path.name != LIST)


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _by_age(state: Path) -> list[Path]:
    return sorted(
        (p for p in state.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdecimal()), key=step_of
    )


def _drop(checkpoint: Path) -> None:
    """Delete a checkpoint; it stops being one before its first file goes."""
    gone = checkpoint.with_name(f"{checkpoint.name}.part")
    checkpoint.rename(gone)
    shutil.rmtree(gone)
