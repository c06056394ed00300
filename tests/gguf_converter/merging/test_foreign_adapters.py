"""Adapters as other programs write them: merged exactly as PEFT merges them, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tuneline.errors import UserError
from tuneline.model.base_model import read_checkpoint
from tuneline.stage import InputRecord
from tuneline_gguf_converter.merging.adapter import read_adapter
from tuneline_gguf_converter.merging.adapter_file import refuse_unfit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # PEFT says much about what is done here on purpose
]

RECORD = InputRecord(uri=None, sha256="00" * 32, size=1, count=1)


def write_base(folder: Path, tied: bool = False, vocabulary: int = 64) -> Path:
    """Write a model with random weights, with biases, and with an output of its own unless `tied`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": tied}
    Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, vocab_size=vocabulary)).save_pretrained(folder)
    return folder


def write_adapter(base: Path, folder: Path, resized: int | None = None, **settings: Any) -> Path:
    """Write an adapter with random numbers in everything that it trains, as PEFT does."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if resized:
        model.resize_token_embeddings(resized)
    plain: dict[str, Any] = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"]}
    model = get_peft_model(model, LoraConfig(**plain | settings))
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += torch.rand_like(parameter) * (0.5 if "magnitude" in name else 0.1)
    model.save_pretrained(str(folder))
    return folder


def merged(base: Path, adapter: Path) -> dict[str, Any]:
    from tuneline_gguf_converter.merging.merge import merged_weights

    checkpoint = read_checkpoint(base)
    return {
        name: w[...] for name, w in merged_weights(checkpoint, read_adapter(adapter, checkpoint, RECORD), "f16").items()
    }


def by_peft(base: Path, adapter: Path) -> dict[str, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return {k: v.half() for k, v in PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict().items()}


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    import torch

    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 5}},
        {"rank_pattern": {"q_proj": 2}, "use_rslora": True},
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"bias": "all"},
        {"init_lora_weights": "gaussian", "layers_to_transform": [1]},
    ],
    ids=str,
)
def test_what_peft_writes_is_merged_as_peft_merges_it(settings: dict[str, Any], tmp_path: Path) -> None:
    import torch

    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    ours = merged(base, adapter)
    assert_equal(ours, by_peft(base, adapter))
    q = "model.layers.1.self_attn.q_proj.weight"
    assert not torch.equal(ours[q], merged_base(base)[q])


def merged_base(base: Path) -> dict[str, Any]:
    from tuneline_gguf_converter.merging.merge import merged_weights

    return {name: weight[...] for name, weight in merged_weights(read_checkpoint(base), None, "f16").items()}


def rewrite(adapter: Path, rename: Callable[[str], str]) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file({rename(name): weight for name, weight in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r"\.weight$", ".default.weight"),
        (r"^base_model\.model\.", "base_model.model._orig_mod."),
        (r"\.self_attn\.", "._fsdp_wrapped_module.self_attn."),
        (r"^base_model\.model\.model\.", "base_model.model.model.language_model."),
        (r"^base_model\.model\.", ""),
    ],
)
def test_the_names_that_wrappers_leave_are_the_same_weights(pattern: str, instead: str, tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    expected = merged(base, adapter)
    rewrite(adapter, lambda name: re.sub(pattern, instead, name))
    assert_equal(merged(base, adapter), expected)


def test_an_adapter_of_mlx_is_merged_by_its_own_scale(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    base, adapter = write_base(tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    a, b = torch.randn(32, 4), torch.randn(4, 48)
    layer = "model.layers.0.mlp.up_proj"
    save_file({f"{layer}.lora_a": a, f"{layer}.lora_b": b}, adapter / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    from safetensors.torch import load_file

    weight = load_file(base / "model.safetensors")[f"{layer}.weight"]
    ours = merged(base, adapter)[f"{layer}.weight"]
    assert torch.allclose(ours.float(), weight + 20.0 * (a @ b).T, rtol=1e-3, atol=1e-3)
    expected, older = merged(base, adapter), {name: value for name, value in config.items() if name != "fine_tune_type"}
    put = (adapter / "adapter_config.json").write_text
    put(json.dumps(older | {"lora_layers": 16, "use_dora": False, "model": "mlx-community/Some-4bit"}))
    assert_equal(merged(base, adapter), expected)
    for change, message in (
        (config | {"fine_tune_type": "dora"}, "is not a LoRA adapter"),
        (older | {"use_dora": True}, "is not a LoRA adapter"),
        (
            older | {"lora_parameters": {"rank": 4, "alpha": 16, "scale": 10.0}},
            "`alpha`, which versions of mlx-lm took",
        ),
    ):
        put(json.dumps(change))
        with pytest.raises(UserError, match=message):
            merged(base, adapter)
    put(json.dumps(config))
    (adapter / "adapters.safetensors").rename(adapter / "0000100_adapters.safetensors")
    with pytest.raises(UserError, match=r"give one of its steps this name, such as 0000100_adapters\.safetensors"):
        merged(base, adapter)


def test_a_weight_that_lies_the_other_way_round_is_changed_so(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    base = tmp_path / "base"
    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64, n_positions=64)).save_pretrained(base)
    adapter = write_adapter(base, tmp_path / "adapter", target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    theirs = by_peft(base, adapter)
    assert_equal(merged(base, adapter), {name: theirs[name] for name in merged(base, adapter)})


TIED = [
    {"modules_to_save": ["embed_tokens"]},
    {"modules_to_save": ["lm_head"]},
    {"modules_to_save": ["embed_tokens", "lm_head"]},
    {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    {"target_modules": ["q_proj", "lm_head"]},
    {"target_modules": ["q_proj", "embed_tokens"]},
    {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
]


def logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model.eval()(torch.arange(40)[None]).logits


@pytest.mark.parametrize("settings", TIED, ids=str)
def test_each_use_of_a_tied_weight_is_what_it_was_while_the_adapter_was_trained(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """PEFT's own merge would change both where one was trained, so the model is compared with its adapter unmerged."""
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    base = write_base(tmp_path / "base", tied=True)
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = logits(model)
    expected = logits(PeftModel.from_pretrained(model, adapter))
    config = AutoConfig.from_pretrained(base, tie_word_embeddings=False)
    merged_model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    merged_model.load_state_dict({name: weight.float() for name, weight in merged(base, adapter).items()}, strict=True)
    assert torch.allclose(logits(merged_model), expected, atol=0.02)
    assert not torch.allclose(plain, expected, atol=0.2)


@pytest.mark.parametrize("settings", [TIED[0], TIED[1], TIED[5]], ids=str)
def test_half_of_a_tied_weight_is_not_changed_where_llama_cpp_has_one_for_both_uses(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base", tied=True)
    adapter = write_adapter(base, tmp_path / "adapter", **settings)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"model_type": "gemma2"}))
    with pytest.raises(UserError, match="both reads and says tokens"):
        merged(base, adapter)


def test_a_tied_weight_of_which_one_use_was_left_out_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = write_base(tmp_path / "base", tied=True)
    adapter = write_adapter(base, tmp_path / "adapter", modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    file = adapter / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if "lm_head" not in name}, file)
    with pytest.raises(UserError, match=r"ensure_weight_tying: .* lm_head\.weight is not in adapter_model"):
        merged(base, adapter)


def test_tokens_that_were_added_before_training_must_be_in_the_base_model(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", resized=70, modules_to_save=["embed_tokens", "lm_head"])
    with pytest.raises(UserError, match=r"has 70 tokens, and this base model has 64: .*resized, with that tokenizer"):
        merged(base, adapter)
    resized = write_base(tmp_path / "resized", vocabulary=70)
    assert_equal(merged(resized, adapter), by_peft(resized, adapter))


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({name: weight * (0 if "lora_B" in name else 1) for name, weight in weights.items()}, file)
    with pytest.raises(UserError, match="it changes nothing, all of its numbers are 0"):
        merged(base, adapter)
    save_file({name: weight * float("nan") for name, weight in weights.items()}, file)
    with pytest.raises(UserError, match=r"adapter: what it makes of model\..* is infinite or no number"):
        merged(base, adapter)


def test_magnitudes_and_the_setting_for_them_come_together(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", use_dora=True)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_dora": False}))
    with pytest.raises(UserError, match=r"use_dora and the magnitudes for .* do not belong together"):
        merged(base, adapter)


def test_experts_and_single_tokens_that_were_trained_are_not_passed_over(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(base, tmp_path / "adapter", trainable_token_indices=[3, 4])
    with pytest.raises(UserError, match="uses trainable_token_indices"):
        merged(base, adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"trainable_token_indices": None}))
    with pytest.raises(UserError, match="more than LoRA matrices"):
        merged(base, adapter)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, r"proj\.weight has DoRA's magnitudes"),
        ({"modules_to_save": ["lm_head"]}, r"lm_head\.weight was trained as a whole"),
        ({"bias": "all"}, r"bias was trained as a whole"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, r"embed_tokens\.weight was trained as a whole"),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 2}}, None),
    ],
    ids=str,
)
def test_what_llama_cpp_cannot_add_while_it_runs_gets_no_file_of_its_own(
    settings: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    base = write_base(tmp_path / "base")
    adapter = read_adapter(write_adapter(base, tmp_path / "adapter", **settings), read_checkpoint(base))
    with pytest.raises(UserError, match=f"`adapter_file`: .*{message}.*") if message else nullcontext():
        refuse_unfit(adapter)
