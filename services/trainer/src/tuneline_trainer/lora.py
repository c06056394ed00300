"""The adapter: its configuration, its size before it exists, and its files with nothing of this machine in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from peft import LoraConfig

from tuneline.errors import UserError
from tuneline_trainer.base_model import BaseModelFacts
from tuneline_trainer.stage import LoraParams

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def lora_config(lora: LoraParams) -> LoraConfig:
    """Return PEFT's configuration of the adapter."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if lora.targets == "all-linear" else list(lora.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )


def targeted_layers(lora: LoraParams, base: BaseModelFacts) -> dict[str, tuple[int, int]]:
    """Return (outputs, inputs) of the layers that get an adapter. Raises UserError for a target that names none."""
    layers = base.linear_layers()
    if lora.targets == "all-linear":
        return layers
    names = {name.rpartition(".")[2] for name in layers}
    unknown = sorted(set(lora.targets) - names)
    if unknown:
        raise UserError(
            f"`lora.targets`: {', '.join(unknown)} is no linear layer of this model. "
            f"It has: {', '.join(sorted(names))}; or use all-linear"
        )
    return {name: shape for name, shape in layers.items() if name.rpartition(".")[2] in lora.targets}


def adapter_parameters(lora: LoraParams, base: BaseModelFacts) -> int:
    """Return the number of trained parameters: rank × (inputs + outputs) per layer."""
    return sum(lora.rank * (outputs + inputs) for outputs, inputs in targeted_layers(lora, base).values())


def write_adapter(checkpoint: Path, destination: Path, base_sha256: str) -> None:
    """Copy the adapter of a checkpoint in a form whose bytes depend on the result alone.

    PEFT writes the targets in the order of a set, which is another one in every process, and the base model's local
    path. The targets are sorted, and the base is named by its content: its address may differ for equal results.
    """
    shutil.copyfile(checkpoint / WEIGHTS, destination / WEIGHTS)
    config = json.loads((checkpoint / CONFIG).read_text(encoding="utf-8"))
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    config["base_model_name_or_path"] = f"base_model@sha256:{base_sha256[:12]}"
    (destination / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
