"""What cannot work is refused before the model is loaded, and says what would work."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import forks
from trainer import runs
from tuneline.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainer")]


def _pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def _without_weights(base: Path) -> None:
    (base / "model.safetensors").unlink()


def _without_a_shard(base: Path) -> None:
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (base / "model.safetensors").rename(base / shards["a"])
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def _cut_off(base: Path) -> None:
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[:-100])


def _with_its_own_code(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "special", "auto_map": {"AutoModelForCausalLM": "modeling.Special"}}
    (base / "config.json").write_text(json.dumps(config))


def _change(base: Path, file: str, **values: object) -> None:
    content = json.loads((base / file).read_text())
    (base / file).write_text(json.dumps(content | values))


def _with_code_beside_it(base: Path) -> None:
    (base / "modeling.py").touch()


def _with_an_odd_tokenizer(base: Path) -> None:
    _change(base, "tokenizer_config.json", added_tokens_decoder=7)


def _with_a_token_too_many(base: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(base / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:300]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    _change(base, "config.json", vocab_size=300)


def _without_a_size(base: Path) -> None:
    _change(base, "config.json", hidden_size=-64)


def _quantised(base: Path) -> None:
    _change(base, "config.json", quantization_config={"quant_method": "gptq"})


def _without_template(base: Path) -> None:
    (base / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_pickled, r"only there as pytorch_model\.bin.*save it with save_pretrained"),
        (_without_weights, r"no model\.safetensors .*give a folder that holds the weights"),
        (_without_a_shard, r"names model-2-of-2\.safetensors, which is missing"),
        (_cut_off, r"model\.safetensors is damaged"),
        (_with_its_own_code, r"model_type 'special' is no text model that transformers knows"),
        (_with_code_beside_it, r"modeling\.py: code that comes with a model is never run"),
        (_with_an_odd_tokenizer, r"tokenizer_config\.json: transformers cannot read it"),
        (_with_a_token_too_many, r"its tokenizer makes token \d+ and config\.json has a vocab_size of 300: resize"),
        (_without_a_size, r"config\.json: hidden_size is missing or no number that makes sense"),
        (_quantised, r"config\.json: quantization_config: .* Take the model that they were made from"),
        (_without_template, r"no chat template"),
    ],
)
def test_a_base_model_that_cannot_be_trained_is_refused(
    tmp_path: Path, base: Path, slices: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(base, tmp_path / "base")
    damage(tmp_path / "base")
    _is_refused(runs.train(tmp_path, tmp_path / "base", slices), message)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"attention": "sdpa"}, r"`attention`=sdpa: it cannot compute the soft-capped scores of this model\. Use auto"),
        ({"attention": "flex_attention"}, r"no backward pass on a CPU"),
        (
            {"lora": {"targets": ["q_proj", "c_attn"]}},
            r"c_attn is no linear layer .* It has: down_proj, gate_pr",
        ),
        ({"max_length": 16}, r"12 of 12 are longer than 16 tokens"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(
    tmp_path: Path, base: Path, slices: Path, params: dict[str, Any], message: str
) -> None:
    _is_refused(runs.train(tmp_path, base, slices, params), message)


def test_the_limit_is_the_context_of_the_model_when_that_is_smaller(tmp_path: Path, base: Path) -> None:
    row = runs.slice_row(1, messages=runs.conversation(1, exchanges=30))
    slices = runs.write_rows(tmp_path / "slices.jsonl", [row])
    _is_refused(runs.train(tmp_path, base, slices), r"1 of 1 are longer than 512 tokens .*talk-1#2")


def _is_refused(outcome: runs.Outcome, message: str) -> None:
    assert outcome.exit_code == 2, outcome
    assert re.search(message, outcome.error), outcome.error
    assert not outcome.began  # nothing was kept, and the model was not loaded


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path, base: Path, slices: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    runs.check("lose_a_weight", tmp_path / "base")
    outcome = runs.train(tmp_path, tmp_path / "base", slices)
    assert outcome.exit_code == 2
    assert "1 weights are missing, first model.layers.1.mlp.up_proj.weight" in outcome.error


def test_weights_that_do_not_fit_the_config_are_the_requests_fault(tmp_path: Path, base: Path, slices: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    _change(tmp_path / "base", "config.json", intermediate_size=256)
    outcome = runs.train(tmp_path, tmp_path / "base", slices)
    assert outcome.exit_code == 2
    assert "base_model: transformers cannot load its weights" in outcome.error


def test_a_gpu_that_is_clearly_too_small_is_refused() -> None:
    runs.check("memory_of_gemma_2_9b")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("targets", ["", "all-linear"])
@pytest.mark.parametrize("kind", ["gemma2", "llama"])
def test_the_memory_estimate_counts_what_autograd_keeps(
    tmp_path: Path, kind: str, targets: str, dropout: float
) -> None:
    assert runs.ended(forks.start(runs.write_base, tmp_path / "base", kind)) == 0
    runs.check("estimate_counts_what_autograd_keeps", tmp_path / "base", targets, dropout)


def test_an_adapter_that_lies_beside_the_base_model_is_not_loaded(tiny_base: Path, tmp_path: Path) -> None:
    from tuneline_trainer.model.base_model import read_base_model
    from tuneline_trainer.model.loading import load_model
    from tuneline_trainer.stage import TrainerParams
    from tuneline_trainer.training.prepare import settle

    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "them/other"}')
    facts = read_base_model(base)
    model = load_model(settle(TrainerParams(), facts.architecture), facts)
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    assert model.name_or_path == str(base)


def test_a_damaged_file_beside_the_config_is_the_one_that_is_named(tiny_base: Path, tmp_path: Path) -> None:
    from tuneline_trainer.model.base_model import read_base_model

    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / "generation_config.json").write_text('{"eos_token_id": ')
    with pytest.raises(UserError, match=r"base_model: generation_config\.json is not JSON"):
        read_base_model(base)
