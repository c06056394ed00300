"""Training may be killed at any moment: the result is the one that would have come out anyway, to the byte."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import signal
from pathlib import Path

import pytest

from trainer import runs
from trainer.runs import Fault

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainer")]


def test_kills_at_random_steps_change_no_byte(tmp_path: Path, base: Path, slices: Path, undisturbed: Path) -> None:
    for step in sorted(random.Random(7).sample(range(1, runs.LAST), 3)):
        assert runs.train(tmp_path, base, slices, kill_at=step).exit_code == -signal.SIGKILL
    outcome = runs.train(tmp_path, base, slices)
    assert outcome.exit_code == 0, outcome.error
    assert outcome.metrics["resumed_from_step"] > 0
    assert runs.results(tmp_path) == runs.results(undisturbed)


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (Fault("open", "saving.part/checkpoint-4/adapter_config.json"), ["checkpoint-2"]),
        (Fault("open", "saving.part/checkpoint-4/trainer_state.json"), ["checkpoint-2"]),
        (Fault("open", "saving.part/checkpoint-4/whole.json"), ["checkpoint-2"]),
        (Fault("os.rename", "saving.part/checkpoint-4"), ["checkpoint-2"]),
        (Fault("os.rename", "state/checkpoint-2"), ["checkpoint-2", "checkpoint-4", "checkpoint-6"]),
        (Fault("shutil.rmtree", "state/checkpoint-2.part"), ["checkpoint-4", "checkpoint-6"]),
    ],
    ids=["weights written", "optimiser written", "all written", "hashes written", "before pruning", "while pruning"],
)
def test_a_kill_while_a_checkpoint_is_written_changes_no_byte(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path, fault: Fault, left: list[str]
) -> None:
    assert runs.train(tmp_path, base, slices, fault=fault).exit_code == -signal.SIGKILL
    assert runs.whole_checkpoints(tmp_path) == left
    outcome = runs.train(tmp_path, base, slices)
    assert outcome.metrics["resumed_from_step"] == int(left[-1].rpartition("-")[2])
    assert runs.results(tmp_path) == runs.results(undisturbed)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["checkpoint-10", "checkpoint-8", "saving.part"]


def test_a_stop_saves_the_step_it_came_in(tmp_path: Path, base: Path, slices: Path, undisturbed: Path) -> None:
    stopped = runs.train(tmp_path, base, slices, stop_at=5)  # between two checkpoints, at the end of an epoch
    assert (stopped.exit_code, stopped.error) == (75, "stopped at 5 of 10")
    assert runs.whole_checkpoints(tmp_path) == ["checkpoint-4", "checkpoint-5"]
    assert runs.train(tmp_path, base, slices).metrics["resumed_from_step"] == 5
    assert runs.results(tmp_path) == runs.results(undisturbed)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path, damage: str
) -> None:
    runs.train(tmp_path, base, slices, stop_at=7)
    file = tmp_path / "state" / "checkpoint-7" / {"flip": "optimizer.pt"}.get(damage, "scheduler.pt")
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if damage == "flip" else data[:99])
    if damage == "remove":
        file.unlink()
    assert runs.train(tmp_path, base, slices).metrics["resumed_from_step"] == 6
    assert runs.results(tmp_path) == runs.results(undisturbed)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "trainer_state.json", "adapter_model.safetensors"])
def test_a_checkpoint_that_torch_refuses_falls_back_to_the_one_before_and_runs_no_code(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path, name: str
) -> None:
    runs.train(tmp_path, base, slices, stop_at=7)
    (tmp_path / "state" / "checkpoint-oddly-named").mkdir()
    checkpoint = tmp_path / "state" / "checkpoint-7"
    (checkpoint / name).write_bytes(pickle.dumps(Planted(tmp_path / "planted")))
    whole = json.loads((checkpoint / "whole.json").read_text())
    whole["files"][name] = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
    (checkpoint / "whole.json").write_text(json.dumps(whole))
    outcome = runs.train(tmp_path, base, slices)
    assert outcome.metrics["resumed_from_step"] == 6, outcome
    assert runs.results(tmp_path) == runs.results(undisturbed)
    assert not (tmp_path / "planted").exists()


class Planted:
    """Touches a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._place,)


def test_checkpoints_of_another_setup_are_not_gone_on_from(tmp_path: Path, base: Path, slices: Path) -> None:
    runs.train(tmp_path, base, slices, stop_at=4)
    listed = tmp_path / "state" / "checkpoint-4" / "whole.json"
    whole = json.loads(listed.read_text())
    whole["setup"]["libraries"]["torch"] = "1.0.0"
    listed.write_text(json.dumps(whole))
    assert runs.train(tmp_path, base, slices).metrics["resumed_from_step"] == 2


def test_a_finished_training_is_not_trained_further(tmp_path: Path, base: Path, slices: Path) -> None:
    # Half an epoch: going on from the last step would train one more, because the epoch is not over.
    assert runs.train(tmp_path, base, slices, {"epochs": 0.5}).exit_code == 0
    first = runs.results(tmp_path)
    again = runs.train(tmp_path, base, slices, {"epochs": 0.5})
    assert again.metrics["resumed_from_step"] == again.metrics["steps"] == 3
    assert runs.results(tmp_path) == first


def test_the_frequency_of_checkpoints_changes_no_byte(
    tmp_path: Path, base: Path, slices: Path, undisturbed: Path
) -> None:
    assert runs.train(tmp_path, base, slices, {"save_steps": 7}).exit_code == 0
    assert runs.results(tmp_path) == runs.results(undisturbed)


def test_4_bit_training_goes_on_exactly_too(tmp_path: Path, base: Path, slices: Path) -> None:
    params = {"quantization": "nf4", "epochs": 1}
    assert runs.train(tmp_path / "whole", base, slices, params).exit_code == 0
    assert runs.train(tmp_path / "stopped", base, slices, params, stop_at=3).exit_code == 75
    assert runs.train(tmp_path / "stopped", base, slices, params).metrics["resumed_from_step"] == 3
    assert runs.results(tmp_path / "stopped") == runs.results(tmp_path / "whole")


@pytest.mark.parametrize("batching", ["slices", "shared_prefix"])
def test_rows_that_are_shared_or_not_are_gone_on_from_exactly(tmp_path: Path, base: Path, batching: str) -> None:
    slices = runs.write_overlapping(tmp_path / "slices.jsonl")
    params = {"batching": batching, "batch_size": 2, "accumulation": 1, "supervise": "all", "eval_steps": 3}
    assert runs.train(tmp_path / "whole", base, slices, params).exit_code == 0
    assert runs.train(tmp_path / "ended", base, slices, params, kill_at=4).exit_code == -signal.SIGKILL
    assert runs.train(tmp_path / "ended", base, slices, params, stop_at=5).exit_code == 75
    assert runs.train(tmp_path / "ended", base, slices, params).metrics["resumed_from_step"] == 5
    assert runs.results(tmp_path / "ended") == runs.results(tmp_path / "whole")
