"""What comes out of a training, and what stops one."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit import forks
from trainer import runs
from tuneline_trainer.model.memory import HOST_RUNTIME

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainer")]


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "outputs" / "metrics.jsonl").read_text().splitlines()]


def validation_losses(folder: Path) -> dict[int, float]:
    return {int(row["step"]): row["validation_loss"] for row in rows(folder) if "validation_loss" in row}


def test_the_loss_goes_down(tmp_path: Path, base: Path, slices: Path) -> None:
    outcome = runs.train(tmp_path, base, slices, {"epochs": 8})
    assert outcome.exit_code == 0, outcome.error
    losses = validation_losses(tmp_path)
    assert losses[40] < 0.95 * losses[0]
    told, best = outcome.metrics, min((step for step in losses if step), key=lambda step: losses[step])
    assert told["headline"].startswith(f"validation loss {losses[0]:.3f} → {losses[best]:.3f} in {best} steps over 10")
    assert told["tokens_per_second"] > 0
    # Less than a process of its own has: this one was forked from one that had imported everything.
    assert told["peak_memory_bytes"] > told["estimated_memory_bytes"] - HOST_RUNTIME > 0


def test_there_is_a_row_per_step_and_per_validation(undisturbed: Path) -> None:
    found = rows(undisturbed)
    steps = [row for row in found if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, runs.LAST + 1))
    assert all(row.keys() == {"step", "epoch", "loss", "learning_rate", "grad_norm"} for row in steps)
    assert all(math.isfinite(value) for row in found for value in row.values())
    assert list(validation_losses(undisturbed)) == [0, 5, 10]  # before, and after each epoch
    assert max(row["learning_rate"] for row in steps) == pytest.approx(0.02)


def test_the_record_says_what_was_done(undisturbed: Path, slices: Path) -> None:
    record = json.loads((undisturbed / "outputs" / "training.json").read_text())
    assert record["setup"].pop("libraries").keys() >= {"torch", "transformers", "trl", "peft"}
    assert record["setup"] == {
        "device": "cpu",
        "dtype": "fp32",
        "quantization": "none",
        "attention": "eager",
        "max_length": 512,
        "threads": 1,
    }
    assert record["steps"] == runs.LAST
    assert record["examples"]["train"]["slices"] == runs.SLICES - runs.VALIDATION
    assert record["tokens_seen"] == 2 * record["examples"]["train"]["tokens"]
    assert 0 < record["examples"]["train"]["supervised_tokens"] < record["examples"]["train"]["tokens"]
    # Rank 4 on q (64→64), k and v (64→32) and o (64→64), in two layers.
    assert record["parameters"]["trained"] == 2 * 4 * (128 + 96 + 96 + 128)
    losses = validation_losses(undisturbed)
    assert record["losses"]["validation_after"] == losses[runs.LAST]
    assert record["losses"]["validation_best"] == losses[record["kept_step"]] == min(losses[5], losses[10])


def test_no_output_names_this_machine_or_holds_a_pickle(undisturbed: Path) -> None:
    outputs = runs.results(undisturbed)
    assert outputs.keys() == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "metrics.jsonl",
        "training.json",
    }
    assert not any(str(undisturbed.parent).encode() in data for data in outputs.values())
    config = json.loads(outputs["adapter/adapter_config.json"])
    assert config["base_model_name_or_path"] == f"base_model@sha256:{runs.BASE_SHA256[:12]}"
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    saved = {p.name for p in (undisturbed / "state" / "checkpoint-10").iterdir()}
    assert not saved & {"training_args.bin", "README.md", "tokenizer.json"}


def test_the_adapter_gives_the_validation_loss_that_was_reported(undisturbed: Path, base: Path, slices: Path) -> None:
    losses = validation_losses(undisturbed)
    reported = min(losses[5], losses[10])
    runs.check("adapter_gives_the_validation_loss", base, undisturbed / "outputs" / "adapter", slices, reported)


@pytest.mark.parametrize("batching", ["slices", "shared_prefix"])
@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_gradients_are_those_of_the_slices_whatever_is_computed_at_once(
    tmp_path: Path, base: Path, llama: Path, kind: str, batching: str
) -> None:
    slices = runs.write_overlapping(tmp_path / "slices.jsonl")
    runs.check("gradients_are_those_of_the_slices", tmp_path, base if kind == "gemma2" else llama, slices, batching)


def test_batching_changes_what_is_computed_and_no_schedule_and_no_validation_loss(tmp_path: Path, base: Path) -> None:
    slices = runs.write_overlapping(tmp_path / "slices.jsonl")
    params = {"lora": {"rank": 4, "dropout": 0}, "epochs": 3, "accumulation": 3}
    records = {}
    for batching in ("slices", "shared_prefix"):
        outcome = runs.train(tmp_path / batching, base, slices, params | {"batching": batching})
        assert outcome.exit_code == 0, outcome.error
        records[batching] = json.loads((tmp_path / batching / "outputs" / "training.json").read_text())
    one, other = records["slices"], records["shared_prefix"]
    assert (one["examples"]["train"]["rows"], other["examples"]["train"]["rows"]) == (8, 4)
    for split in ("train", "validation"):
        for count in ("slices", "supervised_tokens"):
            assert one["examples"][split][count] == other["examples"][split][count]
    assert one["steps"] == other["steps"] == 3 * 3
    assert other["tokens_seen"] == 3 * other["examples"]["train"]["tokens"] < one["tokens_seen"]
    before = [record["losses"]["validation_before"] for record in (one, other)]
    assert before[0] == pytest.approx(before[1], rel=1e-5)
    assert one["losses"]["validation_after"] == pytest.approx(other["losses"]["validation_after"], rel=0.05)


@pytest.mark.parametrize(("softcap", "scale"), [(None, 1.0), (30.0, 1.0), (5.0, 0.3)])
def test_the_head_in_chunks_has_the_gradient_of_all_logits(softcap: float | None, scale: float) -> None:
    runs.check("the_heads_gradient_is_that_of_all_logits", softcap, scale)


OVERFITS = {
    "epochs": 8, "learning_rate": 0.2, "scheduler": "constant", "save_steps": 4,
    "lora": {"rank": 8, "alpha": 32, "targets": "all-linear", "dropout": 0},
}  # fmt: skip
"""So large a rate that the validation loss rises again after some 30 of 40 steps."""


WORSENS = OVERFITS | {"epochs": 2, "learning_rate": 0.01, "warmup": 0.4}
"""The validation loss falls to 5.5 in 5 steps, and is 5.8 after 10."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "base"
    assert runs.ended(forks.start(runs.write_base, folder, "llama")) == 0
    return folder


def test_the_adapter_of_the_lowest_validation_loss_ships_and_the_headline_says_so(
    tmp_path: Path, llama: Path, slices: Path
) -> None:
    outcome = runs.train(tmp_path, llama, slices, WORSENS)
    record = json.loads((tmp_path / "outputs" / "training.json").read_text())
    losses = validation_losses(tmp_path)
    kept = record["kept_step"]
    assert kept < record["steps"] == 10
    assert losses[kept] == min(losses[step] for step in losses if step) < losses[10]
    assert f"→ {losses[kept]:.3f} in {kept} steps" in outcome.metrics["headline"]
    assert f"{losses[10]:.3f} at the end: fewer epochs do" in outcome.metrics["headline"]
    runs.check("adapter_gives_the_validation_loss", llama, tmp_path / "outputs" / "adapter", slices, losses[kept])
    last = runs.train(tmp_path / "last", llama, slices, WORSENS | {"keep": "last"})
    assert f"not the best ({losses[kept]:.3f})" in last.metrics["headline"]
    runs.check("adapter_gives_the_validation_loss", llama, tmp_path / "last/outputs/adapter", slices, losses[10])


def test_training_stops_when_it_has_not_improved_for_long_enough_and_is_not_begun_again(
    tmp_path: Path, llama: Path, slices: Path
) -> None:
    outcome = runs.train(tmp_path, llama, slices, OVERFITS | {"patience": 2, "eval_steps": 2})
    assert outcome.exit_code == 0, outcome.error
    record = json.loads((tmp_path / "outputs" / "training.json").read_text())
    steps = [step for step in validation_losses(tmp_path) if step]
    assert steps[-1] == record["steps"] < 40
    assert steps.index(record["steps"]) - steps.index(record["kept_step"]) == 2
    again = runs.train(tmp_path, llama, slices, OVERFITS | {"patience": 2, "eval_steps": 2})
    assert again.metrics["resumed_from_step"] == record["steps"]
    assert json.loads((tmp_path / "outputs" / "training.json").read_text()) == record


def test_a_4_bit_base_is_trained_on_a_cpu(tmp_path: Path, base: Path, slices: Path) -> None:
    outcome = runs.train(tmp_path, base, slices, {"quantization": "nf4", "epochs": 4})
    assert outcome.exit_code == 0, outcome.error
    losses = validation_losses(tmp_path)
    assert losses[20] < 0.97 * losses[0]


def test_a_validation_does_not_cut_the_gradients_of_a_4_bit_base(base: Path) -> None:
    runs.check("gradients_survive_a_validation", base)


def test_another_architecture_is_trained_on_all_its_linear_layers(tmp_path: Path, slices: Path) -> None:
    assert runs.ended(forks.start(runs.write_base, tmp_path / "base", "llama")) == 0
    params = {"lora": {"rank": 2, "alpha": 4, "targets": "all-linear"}, "batch_size": 3, "scheduler": "constant"}
    outcome = runs.train(tmp_path, tmp_path / "base", slices, params)
    assert outcome.exit_code == 0, outcome.error
    record = json.loads((tmp_path / "outputs" / "training.json").read_text())
    assert record["setup"]["attention"] == "sdpa"
    per_layer = 128 + 96 + 96 + 128 + 3 * (64 + 128)
    assert record["parameters"]["trained"] == 2 * 2 * per_layer
    assert record["steps"] == 4


def test_without_validation_slices_the_training_loss_is_the_headline(tmp_path: Path, base: Path) -> None:
    slices = runs.write_rows(tmp_path / "slices.jsonl", [runs.slice_row(n) for n in range(4)])
    outcome = runs.train(tmp_path, base, slices)
    assert outcome.metrics["headline"].startswith("training loss ")
    assert not validation_losses(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        # An adapter that is amplified beyond what a number can hold.
        ({"lora": {"rank": 4, "alpha": 10**30}, "max_grad_norm": 0}, r"is (nan|inf) at step [1-9].*`learning_rate`"),
        ({"lora": {"rank": 4, "alpha": 10**38}}, r"is (nan|inf) at step [1-9].*`learning_rate`"),
    ],
    ids=["uncut", "cut"],
)
def test_a_diverging_training_stops_and_names_the_step(
    tmp_path: Path, base: Path, slices: Path, params: dict[str, Any], message: str
) -> None:
    outcome = runs.train(tmp_path, base, slices, {**params, "save_steps": 1})
    assert outcome.exit_code == 2
    assert re.search(message, outcome.error), outcome.error
    step = int(re.findall(r"at step (\d+)", outcome.error)[0])
    assert runs.whole_checkpoints(tmp_path)[-1:] in ([f"checkpoint-{step - 1}"], [])


def test_a_base_model_with_a_broken_number_stops_before_the_first_step(
    tmp_path: Path, base: Path, slices: Path
) -> None:
    shutil.copytree(base, tmp_path / "base")
    runs.check("break_a_weight", tmp_path / "base")
    outcome = runs.train(tmp_path, tmp_path / "base", slices)
    assert outcome.exit_code == 2
    assert outcome.error.startswith("the validation loss is nan before the first step: the base model is damaged")
