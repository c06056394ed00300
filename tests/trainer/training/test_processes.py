"""A training on several processes is that of one, to the byte, and none of them outlives another."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from trainer import runs
from tuneline.errors import UserError
from tuneline_trainer.training.crew import gpu_of
from tuneline_trainer.training.prepare import processes_of, refuse_processes

TWO = {"processes": 2}


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, base: Path, slices: Path) -> None:
    """Three for steps of two or three forward passes, with dropout, validations and a best adapter."""
    params = {"accumulation": 3, "eval_steps": 3, "lora": {"rank": 4, "alpha": 8, "dropout": 0.2}}
    assert runs.train(tmp_path / "one", base, slices, params).exit_code == 0
    outcome = runs.train(tmp_path / "three", base, slices, {**params, "processes": 3})
    assert outcome.exit_code == 0, outcome.error
    assert outcome.metrics["processes"] == 3
    assert runs.results(tmp_path / "three") == runs.results(tmp_path / "one")
    assert_gone(tmp_path / "three", 3)


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_kills_and_stops_of_any_process_change_no_byte(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path
) -> None:
    assert runs.train(tmp_path, base, slices, TWO, kill_at=3).exit_code == -signal.SIGKILL
    assert_gone(tmp_path, 2)
    killed = runs.train(tmp_path, base, slices, TWO, kill_rank_at=5)
    assert killed.exit_code == 75, killed
    assert killed.error.startswith("process 2 of 2 of the training was ended by SIGKILL; run the same command again")
    assert_gone(tmp_path, 2)
    assert runs.whole_checkpoints(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    stopped = runs.train(tmp_path, base, slices, TWO, stop_at=7)
    assert (stopped.exit_code, stopped.error) == (75, "stopped at 7 of 10")
    assert runs.whole_checkpoints(tmp_path) == ["checkpoint-6", "checkpoint-7"]
    assert runs.train(tmp_path, base, slices).metrics["resumed_from_step"] == 7
    assert runs.results(tmp_path) == runs.results(undisturbed)


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_a_base_model_in_shards_teaches_what_a_whole_one_does(tmp_path: Path, base: Path, slices: Path) -> None:
    """To the byte: in 4 bits, with dropout, fewer passes or rows than processes, and over a kill of one of them."""
    params = {"accumulation": 4, "eval_steps": 3, "quantization": "nf4", "lora": {"rank": 4, "dropout": 0.2}}
    assert runs.train(tmp_path / "whole", base, slices, params).exit_code == 0
    shards = {**params, "shard_base": True, "processes": 3}
    killed = runs.train(tmp_path / "shards", base, slices, shards, kill_rank_at=3)
    assert (killed.exit_code, killed.error[:24]) == (75, "process 3 of 3 of the tr")
    assert_gone(tmp_path / "shards", 3)
    outcome = runs.train(tmp_path / "shards", base, slices, shards)
    assert outcome.exit_code == 0, outcome.error
    assert outcome.metrics["resumed_from_step"] == 2
    whole, made = runs.results(tmp_path / "whole"), runs.results(tmp_path / "shards")
    assert json.loads(made.pop("training.json"))["losses"] == json.loads(whole.pop("training.json"))["losses"]
    assert made == whole
    assert_gone(tmp_path / "shards", 3)


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_every_process_holds_its_part_of_a_layer_and_what_is_no_layer(tmp_path: Path, base: Path) -> None:
    runs.check("a_shard_is_a_part_of_every_layer", base, tmp_path)


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_one_process_has_nobody_to_share_a_base_model_with(tmp_path: Path, base: Path, slices: Path) -> None:
    outcome = runs.train(tmp_path, base, slices, {"shard_base": True})
    assert (outcome.exit_code, outcome.began) == (2, False)
    assert "`shard_base`: there is one process, whose part is the whole base model. Give the pod more" in outcome.error


@pytest.mark.slow
@pytest.mark.xdist_group("trainer")
def test_what_one_process_refuses_is_the_requests_fault_and_what_it_stumbles_over_is_told(
    tmp_path: Path, base: Path, slices: Path
) -> None:
    runs.check("break_a_weight", copied(base, tmp_path / "base"))
    outcome = runs.train(tmp_path / "run", tmp_path / "base", slices, TWO)
    assert outcome.exit_code == 2
    assert "before the first step: the base model is damaged" in outcome.error
    runs.check("a_process_that_fails_is_told_by_its_type", tmp_path / "plan")


def copied(base: Path, to: Path) -> Path:
    to.mkdir()
    for path in base.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def assert_gone(folder: Path, count: int, deadline_s: float = 60) -> None:
    """The processes that the trainer had started end with it, or with the first of them."""
    ranks = json.loads((folder / runs.RANKS).read_text())
    assert len(ranks) == count
    until = time.monotonic() + deadline_s
    while left := [pid for pid in ranks if _works(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def _works(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_more_processes_than_gpus_are_refused() -> None:
    refuse_processes(4, 4)
    with pytest.raises(UserError, match=r"`processes`=4 takes as many GPUs, and the number of visible ones is 2"):
        refuse_processes(4, 2)


def test_without_a_gpu_there_is_one_process_unless_more_are_asked_for() -> None:
    assert processes_of("auto", "cpu", 8) == 1
    assert processes_of(3, "cpu", 2) == 3


def test_each_process_sees_one_of_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu_of(rank) for rank in range(2)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8b0e")
    assert [gpu_of(rank) for rank in range(2)] == ["5", "GPU-8b0e"]
