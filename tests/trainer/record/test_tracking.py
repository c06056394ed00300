"""Figures while it trains: metrics.jsonl, and the trackers that get the same."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from trainer import runs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainer")]

TRACKED = {"report_to": ["tensorboard"]}


def tell(folder: Path, **variables: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / runs.VARIABLES).write_text(json.dumps({name: str(value) for name, value in variables.items()}))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of the only run in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = folder.iterdir()
    shown = EventAccumulator(str(run)).Reload()
    return {tag: [(e.step, e.value) for e in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once_after_a_kill_and_nothing_of_this_machine(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path
) -> None:
    board, run = tmp_path / "board", tmp_path / "run"
    tell(run, TENSORBOARD_LOGDIR=board)
    runs.train(run, base, slices, TRACKED, kill_at=7)  # steps 7 and, beyond the last checkpoint, 6 come again
    assert runs.train(run, base, slices, TRACKED).metrics["resumed_from_step"] == 6
    assert runs.results(run) == runs.results(undisturbed)
    rows = lines(run / "outputs" / "metrics.jsonl")
    shown = events(board)
    for name in ("loss", "learning_rate", "grad_norm", "validation_loss"):
        told = {row["step"]: row[name] for row in rows if name in row}
        assert [step for step, _ in shown[name]] == list(told)
        assert [value for _, value in shown[name]] == pytest.approx(list(told.values()))
    for file in board.rglob("*"):
        assert socket.gethostname() not in file.name
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes()


def test_a_tracker_that_fails_costs_the_training_nothing(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path
) -> None:
    (tmp_path / "file").touch()
    tell(tmp_path, TENSORBOARD_LOGDIR=tmp_path / "file")
    outcome = runs.train(tmp_path, base, slices, TRACKED)
    assert outcome.exit_code == 0, outcome.error
    assert runs.results(tmp_path) == runs.results(undisturbed)


def test_a_tracker_that_is_not_installed_or_has_no_place_is_refused(tmp_path: Path, base: Path, slices: Path) -> None:
    missing = runs.train(tmp_path, base, slices, {"report_to": ["wandb"]})
    assert (missing.exit_code, missing.began) == (2, False)
    assert missing.error == "`report_to`: wandb is not installed: pip install 'tuneline-trainer[wandb]'"
    nowhere = runs.train(tmp_path, base, slices, TRACKED)
    assert (nowhere.exit_code, nowhere.began) == (2, False)
    assert "tensorboard sends its figures to where TENSORBOARD_LOGDIR says, and that is not set" in nowhere.error


def test_the_rows_grow_while_it_trains_and_are_part_of_every_checkpoint(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path
) -> None:
    runs.train(tmp_path, base, slices, kill_at=7)
    whole = lines(undisturbed / "outputs" / "metrics.jsonl")
    so_far = lines(tmp_path / "outputs" / "metrics.jsonl")
    assert so_far == whole[: len(so_far)]
    assert so_far[-1]["step"] == 6  # of step 7 the validation and the log are still to come
    kept = lines(tmp_path / "state" / "checkpoint-6" / "metrics.jsonl")
    assert kept == whole[: len(kept)]
    assert kept[-1]["step"] == 6
