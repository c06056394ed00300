"""What comes out of a training, and what stops one."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from trainer import runs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainer")]


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "outputs" / "metrics.jsonl").read_text().splitlines()]


def validation_losses(folder: Path) -> dict[int, float]:
    return {int(row["step"]): row["validation_loss"] for row in rows(folder) if "validation_loss" in row}


def test_the_loss_goes_down(tmp_path: Path, base: Path, slices: Path) -> None:
    outcome = runs.train(tmp_path, base, slices, {"epochs": 8})
    assert outcome.exit_code == 0, outcome.error
    losses = validation_losses(tmp_path)
    assert losses[40] < 0.7 * losses[0]
    told = outcome.metrics
    assert told["headline"].startswith(f"validation loss {losses[0]:.3f} → {losses[40]:.3f} in 40 steps over 10 slices")
    assert told["tokens_per_second"] > 0
    assert told["peak_memory_bytes"] > told["estimated_memory_bytes"] > 0


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
    assert record["losses"]["validation_after"] == validation_losses(undisturbed)[runs.LAST]


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


def _validation_loss_of(base: Path, adapter: Path, slices: Path) -> float:
    """The mean over the validation slices of each one's mean, by another way than the trainer's."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from tuneline_trainer.rows import read_examples

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
    losses = []
    for example in read_examples(slices, base, "all", 512).validation:
        logits = tuned(torch.tensor([example.input_ids])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.labels[1:])).item())
    return sum(losses) / len(losses)


def _check_validation_loss(folder: Path, base: Path, slices: Path) -> None:
    reported = validation_losses(folder)[runs.LAST]
    assert _validation_loss_of(base, folder / "outputs" / "adapter", slices) == pytest.approx(reported, rel=1e-5)


def test_the_adapter_gives_the_validation_loss_that_was_reported(undisturbed: Path, base: Path, slices: Path) -> None:
    assert runs.ended(runs.start(_check_validation_loss, undisturbed, base, slices)) == 0


def test_a_4_bit_base_is_trained_on_a_cpu(tmp_path: Path, base: Path, slices: Path) -> None:
    outcome = runs.train(tmp_path, base, slices, {"quantization": "nf4", "epochs": 8})
    assert outcome.exit_code == 0, outcome.error
    losses = validation_losses(tmp_path)
    assert losses[40] < 0.7 * losses[0]


def _check_gradients(base: Path) -> None:
    import torch
    from tuneline_trainer.base_model import read_base_model
    from tuneline_trainer.setup import settle
    from tuneline_trainer.sft import load_model
    from tuneline_trainer.stage import TrainerParams

    facts = read_base_model(base)
    model = load_model(settle(TrainerParams(quantization="nf4"), facts.architecture), facts)
    ids = torch.arange(8, 40).unsqueeze(0)

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=embedded, labels=ids).loss.backward()
        assert embedded.grad is not None
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(ids)
    assert before.abs().max() > 0
    assert torch.equal(gradient(), before)


def test_a_validation_does_not_cut_the_gradients_of_a_4_bit_base(base: Path) -> None:
    assert runs.ended(runs.start(_check_gradients, base)) == 0


def test_another_architecture_is_trained_on_all_its_linear_layers(tmp_path: Path, slices: Path) -> None:
    assert runs.ended(runs.start(runs.write_base, tmp_path / "base", "llama")) == 0
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


def _break_a_weight(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = math.nan
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def test_a_base_model_with_a_broken_number_stops_before_the_first_step(
    tmp_path: Path, base: Path, slices: Path
) -> None:
    shutil.copytree(base, tmp_path / "base")
    assert runs.ended(runs.start(_break_a_weight, tmp_path / "base")) == 0
    outcome = runs.train(tmp_path, tmp_path / "base", slices)
    assert outcome.exit_code == 2
    assert outcome.error.startswith("the validation loss is nan before the first step: the base model is damaged")
