"""How much memory training will take at least, so that a machine that is clearly too small is refused before loading.

A lower bound on purpose: it leaves out what the allocator wastes and what kernels borrow, so a refusal is never wrong,
and a run that passes may still be tight. What was really used is reported when the training is done.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline_trainer.base_model import BaseModelFacts, linear_layers, text_layers
from tuneline_trainer.stage import LoraParams, TrainerParams

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Per weight: four bits, one byte of scale per 64 weights, four bytes per 256 scales (arXiv:2305.14314, section 3)."""

ADAM_COPIES = 4
"""Weight, gradient and two moments, all in the adapter's own format."""

EAGER_SCORE_BYTES = 8
"""Per pair of tokens and head: what eager attention keeps of the scores for its backward pass, at least."""

# A container's limit, in either version of the kernel's interface.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Estimate(NamedTuple):
    """Bytes by purpose."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        return sum(self)


def estimate(params: TrainerParams, setup: TrainingSetup, base: BaseModelFacts, tokens: int, batch: int) -> Estimate:
    """Return the least memory that a step with `batch` rows of `tokens` tokens takes."""
    return Estimate(
        weights=_weights(setup, base),
        # TRL keeps the adapter of a 4-bit base in bf16; every other adapter is in fp32.
        adapter=adapter_parameters(params.lora, base.shapes) * ADAM_COPIES * (2 if setup.quantization == "nf4" else 4),
        activations=_activations(params, setup, base, tokens, batch),
    )


def capacity(setup: TrainingSetup) -> int:
    """Return the bytes there are: free on the GPU, or the machine's memory within the limit of the container."""
    if setup.device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [path.read_text().strip() for path in CGROUP_LIMITS if path.is_file()]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])  # `max` means none


def require_memory(needed: Estimate, available: int, setup: TrainingSetup, tokens: int) -> None:
    """Raise UserError if even the least that is needed is not there."""
    if needed.total <= available:
        return
    ways = ["more memory", "shorter slices (slicer `max_tokens`)", "a smaller `batch_size` or `lora.rank`"]
    if setup.quantization == "none":
        ways.insert(0, "`quantization`=nf4")
    if setup.attention == "eager" and setup.device == "cuda":
        ways.insert(0, "`attention`=flex_attention")
    where = "GPU" if setup.device == "cuda" else "host"
    raise UserError(
        f"training needs at least {gib(needed.total)} of {where} memory and there is {gib(available)}: "
        f"{gib(needed.weights)} for the base model, {gib(needed.adapter)} for adapter and optimiser, "
        f"{gib(needed.activations)} for the longest slice of {tokens:,} tokens. Ways out: {'; '.join(ways)}"
    )


def _weights(setup: TrainingSetup, base: BaseModelFacts) -> int:
    width = 2 if setup.dtype == "bf16" else 4
    linear = sum(outputs * inputs for outputs, inputs in linear_layers(base.shapes).values())
    rest = sum(math.prod(shape) for shape in base.shapes.values()) - linear
    return int(linear * (NF4_BYTES if setup.quantization == "nf4" else width) + rest * width)


def adapter_parameters(lora: LoraParams, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return rank × (inputs + outputs) of the targeted layers. Raises UserError for a target that names none."""
    layers = text_layers(shapes)
    names = {name.rpartition(".")[2] for name in layers}
    targets = names if lora.targets == "all-linear" else set(lora.targets)
    if unknown := sorted(targets - names):
        raise UserError(
            f"`lora.targets`: {', '.join(unknown)} is no linear layer of this model. "
            f"It has: {', '.join(sorted(names))}; or use all-linear"
        )
    return sum(lora.rank * sum(shape) for name, shape in layers.items() if name.rpartition(".")[2] in targets)


def _activations(params: TrainerParams, setup: TrainingSetup, base: BaseModelFacts, tokens: int, batch: int) -> int:
    """Inputs of every layer, and the inside of one of them (of all, without gradient checkpointing)."""
    arch = base.architecture
    width = 2 if setup.dtype == "bf16" else 4
    layer_input = batch * tokens * arch.hidden_size * width
    # Inside a layer: inputs of q/k/v, of o, of the norms and residuals (about 6 × hidden), gate, up and their product.
    inside = batch * tokens * (6 * arch.hidden_size + 3 * arch.intermediate_size) * width
    if setup.attention == "eager":
        inside += batch * arch.num_attention_heads * tokens**2 * EAGER_SCORE_BYTES
    kept = 1 if params.gradient_checkpointing else arch.num_hidden_layers
    return arch.num_hidden_layers * layer_input + kept * inside


def gib(size: int) -> str:
    """Write a number of bytes in GiB, or in MiB where that would be nothing."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
