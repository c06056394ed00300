"""A small stage with all that can go wrong: checkpoints it goes on from, a journal, a given input, a large output."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import structlog
from pydantic import Field

from tuneline.stage import (
    AnyStage,
    Context,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    folder_name,
    given,
    pace,
)

TRAIL_BYTES = (5 << 20) + (1 << 16)
"""Size of the large output: two parts of the smallest size that servers take."""
KEPT = 2
"""Checkpoints that are kept."""

log = structlog.get_logger()


class WalkerParams(Params):
    """How far it walks."""

    steps: int = Field(default=6, ge=1)
    """Steps; each one leaves a checkpoint."""
    pause: float = pace(0.0, ge=0)
    """Seconds per step."""


class WalkerInputs(Inputs):
    """What it walks over."""

    words: Path = given()
    """Words, which no log may repeat."""


class WalkerOutputs(Outputs):
    """Where it came."""

    trail: Path = file_name("trail.bin")
    """Bytes that depend on every step."""
    notes: Path = folder_name("notes")
    """A file for each of the first steps."""


def walk(params: WalkerParams, inputs: WalkerInputs, outputs: WalkerOutputs, context: Context) -> Metrics:
    """Take each step once: go on from the last checkpoint, and pay for no step that the journal holds."""
    words = inputs.words.read_bytes()
    first, digest = _last_checkpoint(context.state)
    log.info("walking", first=first)
    journal, paid = context.journal("steps"), 0
    for step in range(params.steps):
        context.progress(step, params.steps)
        if journal.get(str(step)) is None:
            time.sleep(params.pause)
            journal.put(str(step), {"weight": hashlib.sha256(b"%d" % step + words).hexdigest()})
            log.info("paid", step=step)
            paid += 1
        if step >= first:
            digest = hashlib.sha256(digest + words).digest()
            _save(context.state, step, digest)
    for step in range(min(params.steps, 6)):
        (outputs.notes / f"{step}.txt").write_text(str(journal.get(str(step))))
    outputs.trail.write_bytes(digest * (TRAIL_BYTES // len(digest)))
    return Metrics(headline=f"{params.steps} steps", counts={"first": first, "paid": paid})


def _last_checkpoint(state: Path) -> tuple[int, bytes]:
    """Return the next step and the digest so far."""
    found = sorted(state.glob("step-????"))
    if not found:
        return 0, b""
    return int(found[-1].name.removeprefix("step-")) + 1, (found[-1] / "weights").read_bytes()


def _save(state: Path, step: int, digest: bytes) -> None:
    """Leave a checkpoint of two files, and drop the oldest."""
    part = state / "step.part"
    part.mkdir()
    (part / "weights").write_bytes(digest)
    (part / "optimizer").write_bytes(digest * 1000)
    part.rename(state / f"step-{step:04}")
    for old in sorted(state.glob("step-????"))[:-KEPT]:
        shutil.rmtree(old.rename(part))


WALKER = Stage("walker", 1, WalkerParams, WalkerInputs, WalkerOutputs, walk)
STAGES: dict[str, AnyStage] = {"walker": WALKER}
