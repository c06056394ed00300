from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.families import FAMILIES, SMALL, write_family
from tuneline.errors import UserError
from tuneline.model.base_model import read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline_gguf_converter.checking.rehearsal import PROVEN, rehearse

QWEN_3_5 = {
    "num_hidden_layers": 4, "layer_types": [*["linear_attention"] * 3, "full_attention"], "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "tie_word_embeddings": True,
}  # fmt: skip


def write_stranger(folder: Path, kind: str, family: str = "Llama 3.2", **config: Any) -> Path:
    """Write a small model with another one's tokenizer; of its weights there is the header, as checks see them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    write_family(folder, family)
    rows = read_checkpoint(folder).shapes["model.embed_tokens.weight"][0]
    made = AutoConfig.for_model(kind, **{**SMALL, "vocab_size": rows, "sliding_window": 64, **config})
    AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).save_pretrained(folder)  # type: ignore[no-untyped-call]
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        size, header = weights.stat().st_size, 8 + int.from_bytes(file.read(8), "little")
        file.truncate(header)
        file.truncate(size)
    return folder


def tried(base: Path) -> None:
    rehearse(read_checkpoint(base), ChatTokenizer.from_folder(base), None)


def test_no_model_goes_unrehearsed_but_those_of_families_that_are_converted_by_a_test() -> None:
    families = [kind for family in FAMILIES.values() for kind in (family.model_type, family.sees) if kind]
    assert set(families) == PROVEN


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("families")
def test_a_key_that_the_converter_takes_from_a_config_is_missed_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: llama\.cpp's converter takes rotary_pct from it, and"):
        tried(write_stranger(tmp_path / "lacking", "cohere2"))
    tried(write_stranger(tmp_path / "whole", "cohere2", head_dim=16, rotary_pct=1.0))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("families")
def test_a_weight_that_llama_cpp_has_no_name_for_is_told_with_the_way_out(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    base = write_stranger(tmp_path / "base", "cohere2", head_dim=16, rotary_pct=1.0)
    file = base / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.mystery.weight": torch.zeros(4)}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"converter refuses it: .*layers\.0\.mystery\.weight.*`goal: trainer`"):
        tried(base)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("families")
def test_a_model_that_is_converted_and_then_not_loaded_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    """Heads of EXAONE 4 are as wide together as the model is, for llama.cpp if not for transformers."""
    with pytest.raises(UserError, match=r"does not work: .*attn_output\.weight' has wrong shape.*`goal: trainer`"):
        tried(write_stranger(tmp_path / "base", "exaone4", head_dim=32))


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("families")
@pytest.mark.parametrize("said", [{}, {"mtp_num_hidden_layers": 1}])
def test_qwen_3_5_that_was_saved_without_its_layers_for_further_tokens_is_converted(
    said: dict[str, int], tmp_path: Path
) -> None:
    """So transformers saves it, which has no such layers."""
    tried(write_stranger(tmp_path / "base", "qwen3_5_text", "Qwen 3", **QWEN_3_5, **said))
