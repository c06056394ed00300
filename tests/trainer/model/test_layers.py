"""Which layers get an adapter: the same by the files, in which they are counted, as in the model that is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuneline.model.base_model import read_checkpoint
from tuneline_trainer.model.base_model import text_layers
from tuneline_trainer.model.memory import adapter_parameters
from tuneline_trainer.stage import LoraParams

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
    "num_key_value_heads": 2, "vocab_size": 64,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MODELS: dict[str, dict[str, Any]] = {
    "qwen3_moe": EXPERTS,
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_next": {
        **EXPERTS, "shared_expert_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 48,
        "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 2,
    },
    "llama": {},
}  # fmt: skip
OF_EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
PASSED_OVER = {
    "qwen3_moe": OF_EXPERTS, "mixtral": OF_EXPERTS, "qwen3_next": OF_EXPERTS, "falcon_h1": {"out_proj"},
    "granitemoehybrid": {"out_proj"}, "llama": set(),
}  # fmt: skip


@pytest.mark.parametrize("model_type", MODELS)
def test_all_linear_layers_are_those_that_bear_an_adapter_which_can_be_merged(model_type: str, tmp_path: Path) -> None:
    """PEFT would give experts one that cannot be, or fail, where a layer is named as theirs are."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from tuneline_trainer.model.layers import target_modules

    config = AutoConfig.for_model(model_type, **SMALL | MODELS[model_type])
    model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(tmp_path)
    shapes = read_checkpoint(tmp_path).shapes
    lora = LoraParams(rank=2, targets="all-linear")
    targets = target_modules(model, "all-linear")
    adapted: Any = get_peft_model(model, LoraConfig(r=2, lora_dropout=0.1, target_modules=targets))
    assert not adapted.peft_config["default"].target_parameters
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert sum(weight.numel() for weight in trained.values()) == adapter_parameters(lora, shapes)
    last = {name.rpartition(".")[2] for name in text_layers(shapes)}
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == last
    assert last.isdisjoint(PASSED_OVER[model_type])
