from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.families import FAMILIES, SMALL, write_family
from tuneline.errors import UserError
from tuneline.model.base_model import read_checkpoint
from tuneline_gguf_converter.merging.rehearsal import PROVEN, rehearse


def write_cohere(folder: Path, **config: Any) -> Path:
    """Write a small Cohere 2 with another model's tokenizer; of its weights there is the header, as checks see them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    write_family(folder, "Llama 3.2")
    rows = read_checkpoint(folder).shapes["model.embed_tokens.weight"][0]
    made = AutoConfig.for_model("cohere2", **{**SMALL, "vocab_size": rows, "sliding_window": 64, **config})
    AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).save_pretrained(folder)  # type: ignore[no-untyped-call]
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        size, header = weights.stat().st_size, 8 + int.from_bytes(file.read(8), "little")
        file.truncate(header)
        file.truncate(size)
    return folder


def test_no_model_goes_unrehearsed_but_those_of_families_that_are_converted_by_a_test() -> None:
    families = [kind for family in FAMILIES.values() for kind in (family.model_type, family.sees) if kind]
    assert set(families) == PROVEN


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("families")
def test_a_key_that_the_converter_takes_from_a_config_is_missed_before_anything_is_trained(tmp_path: Path) -> None:
    lacking = read_checkpoint(write_cohere(tmp_path / "lacking"))
    with pytest.raises(UserError, match=r"config\.json: llama\.cpp's converter takes rotary_pct from it, and"):
        rehearse(lacking, None)
    rehearse(read_checkpoint(write_cohere(tmp_path / "whole", rotary_pct=1.0)), None)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("families")
def test_a_weight_that_llama_cpp_has_no_name_for_is_told_with_the_way_out(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    base = write_cohere(tmp_path / "base", rotary_pct=1.0)
    file = base / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.mystery.weight": torch.zeros(4)}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"cannot convert this model.*layers\.0\.mystery\.weight.*`goal: trainer`"):
        rehearse(read_checkpoint(base), None)
