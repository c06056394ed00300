"""The stage itself: light to import, and run as people run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from kit import forks
from kit.support import run_stage
from trainer import runs
from tuneline.engine.records import Manifest
from tuneline_trainer.stage import STAGE

LONG = {**runs.FAST, "epochs": 20, "save_steps": 5}
"""Enough steps (100) that a signal finds the training at work."""


@pytest.mark.slow
def test_the_command_line_needs_no_torch() -> None:
    script = (
        "import sys; from tuneline.commands.stage import schema_of; from tuneline_trainer.stage import STAGE; "
        "print(schema_of(STAGE)['stage'], {'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "trainer set()"


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_no_training_of_these_tests_waits_for_imports() -> None:
    assert runs.ended(forks.start(runs.begins_with_the_stack)) == 0


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_signals_and_kills_change_no_byte_of_what_is_published(tmp_path: Path, base: Path, slices: Path) -> None:
    quiet, noisy = tmp_path / "quiet", tmp_path / "noisy"
    assert runs.ended(forks.start(runs.train_in_store, quiet, base, slices, LONG)) == 0
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        reached, earlier = _published_step(noisy), set(noisy.glob("scratch/*"))
        process = forks.start(runs.train_in_store, noisy, base, slices, LONG)
        _wait_for_step(noisy, earlier, reached + 10)
        assert process.pid
        os.kill(process.pid, number)
        assert runs.ended(process) == (75 if number == signal.SIGTERM else -number)
    reached = _published_step(noisy)
    assert reached > 20
    assert runs.ended(forks.start(runs.train_in_store, noisy, base, slices, LONG)) == 0
    after, undisturbed = _manifest(noisy, base, slices), _manifest(quiet, base, slices)
    assert int(str(after.metrics.counts["resumed_from_step"])) >= reached
    assert after.outputs.keys() == undisturbed.outputs.keys() == {"adapter", "metrics", "training"}
    assert [o.sha256 for o in after.outputs.values()] == [o.sha256 for o in undisturbed.outputs.values()]


def _manifest(folder: Path, base: Path, slices: Path) -> Manifest:
    """The result that is in the store: nothing is trained again."""
    done = run_stage(STAGE, folder, inputs={"slices": slices, "base_model": base}, params=LONG)
    assert done.reused
    return done.manifest


def _published_step(folder: Path) -> int:
    """The newest step in the store."""
    return _newest_step((folder / "store" / "results").glob("trainer/*/state/*/checkpoint-*"))


def _newest_step(checkpoints: Iterable[Path]) -> int:
    return max((int(p.name.rpartition("-")[2]) for p in checkpoints if p.suffix != ".part"), default=0)


def _wait_for_step(folder: Path, earlier: set[Path], step: int, deadline_s: float = 200) -> None:
    """Wait until the attempt that has just begun has saved `step`. Killed attempts leave their scratch behind."""
    until = time.monotonic() + deadline_s
    while _newest_step(p for s in set(folder.glob("scratch/*")) - earlier for p in s.glob("state/checkpoint-*")) < step:
        assert time.monotonic() < until
        time.sleep(0.01)
