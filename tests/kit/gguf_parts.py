"""What the tests of the GGUF converter share."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {"min_top1_agreement": 0.1, "threads": 1}
"""A model with random weights hardly prefers any token, so a few bits less change its mind often."""


def write_adapter(base: Path, folder: Path) -> Path:
    """Write a LoRA adapter with random weights, as PEFT does."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    targets = ["q_proj", "v_proj", "down_proj"]
    config = LoraConfig(r=8, lora_alpha=4, target_modules=targets, init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT asks transformers for a name that transformers calls deprecated
        get_peft_model(model, config).save_pretrained(str(folder))
    return folder


def with_config(adapter: Path, folder: Path, **values: Any) -> Path:
    """Copy an adapter and change its configuration."""
    shutil.copytree(adapter, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder
