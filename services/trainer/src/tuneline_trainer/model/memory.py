"""How much memory training takes, so that a machine that is clearly too small is refused before loading.

Counted are the tensors that autograd keeps for the backward pass, one by one, and what is there besides. Within
TOLERANCE it is the peak that was measured on a CPU (docs/benchmarks.md); what allocators waste on a GPU is left out.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline_trainer.model.base_model import EXPERTS, Architecture, BaseModelFacts, linear_layers, text_layers
from tuneline_trainer.stage import LoraParams, TrainerParams

NF4_BYTES, NF4_SCALE_BYTES = 0.5, 1 / 64 + 4 / (64 * 256)
"""Per weight: four bits, one byte of scale per 64 weights, four bytes per 256 scales (arXiv:2305.14314, section 3)."""

ADAM_COPIES = 4
"""Weight, gradient and two moments, all in the adapter's own format."""

TOLERANCE = 0.3
"""How far off the estimate may be, as a share of the peak."""

HOST_RUNTIME = 1_000_000_000
"""Bytes of a process that has imported torch, transformers and TRL, before any model."""

HEAD_TILE, HEAD_TOKENS_ON_CUDA = 32_768, 4_096
"""Rows of the vocabulary and tokens whose logits are held at once in TRL's head."""

HEAD_LOGITS_ON_CPU = 3 << 24
"""Logits that are held at once on a CPU, all copies together."""

EAGER_SCORE_BYTES = 8
"""Per pair of tokens and head: what eager attention keeps of the scores for its backward pass, at least."""

M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 1 << 20
"""A setting's number in malloc.h of glibc, and the bytes from which a block is mapped by itself."""

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the driver says which GPUs this machine has, known without torch."""

# A container's limit, in either version of the kernel's interface.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Estimate(NamedTuple):
    """Bytes by purpose."""

    weights: int
    adapter: int
    activations: int
    runtime: int

    @property
    def total(self) -> int:
        return sum(self)


def estimate(
    params: TrainerParams, setup: TrainingSetup, base: BaseModelFacts, tokens: int, batch: int, shards: int = 1
) -> Estimate:
    """Return the most memory that a step with `batch` rows of `tokens` tokens takes of each of `shards` processes."""
    return Estimate(
        weights=_weights(setup, base, shards),
        # TRL keeps the adapter of a 4-bit base in bf16; every other adapter is in fp32.
        adapter=adapter_parameters(params.lora, base.shapes) * ADAM_COPIES * (2 if setup.quantization == "nf4" else 4),
        activations=_activations(params, setup, base, tokens, batch),
        runtime=0 if setup.device == "cuda" else HOST_RUNTIME,
    )


def capacity(setup: TrainingSetup, processes: int) -> int:
    """Return the bytes there are for each process: on its GPU, or of the machine's memory within the container's limit.

    Of several GPUs the one with the least counts.
    """
    if setup.device == "cuda":
        import torch

        return min(torch.cuda.mem_get_info(gpu)[0] for gpu in range(processes))
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [path.read_text().strip() for path in CGROUP_LIMITS if path.is_file()]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())]) // processes  # `max` means none


def require_memory(needed: Estimate, available: int, setup: TrainingSetup, tokens: int) -> None:
    """Raise UserError if it is not there even where the estimate is too high by as much as it may be."""
    if needed.total <= available * (1 + TOLERANCE):
        return
    ways = ["more memory", "shorter slices (slicer `max_tokens`)", "a smaller `batch_size` or `lora.rank`"]
    if setup.quantization == "none":
        ways.insert(0, "`quantization`=nf4")
    if setup.device == "cuda":
        ways.append("`shard_base`=true with more GPUs")
    if setup.attention == "eager" and setup.device == "cuda":
        ways.insert(0, "`attention`=flex_attention")
    where = "GPU" if setup.device == "cuda" else "host"
    raise UserError(
        f"training takes about {gib(needed.total)} of {where} memory and there is {gib(available)}: "
        f"{gib(needed.weights)} for the base model, {gib(needed.adapter)} for adapter and optimiser, "
        f"{gib(needed.activations)} for the longest slice of {tokens:,} tokens. Ways out: {'; '.join(ways)}"
    )


def _weights(setup: TrainingSetup, base: BaseModelFacts, shards: int) -> int:
    """Of a model in shards, two layers are whole at once: the one that is computed, and the next that is gathered."""
    width = _width(setup)
    linear = sum(outputs * inputs for outputs, inputs in linear_layers(base.shapes).values())
    rest = sum(math.prod(shape) for shape in base.shapes.values()) - linear
    each, scales = (NF4_BYTES, NF4_SCALE_BYTES) if setup.quantization == "nf4" else (width, 0)
    held = 1 if shards == 1 else min(1, 1 / shards + 2 / base.architecture.num_hidden_layers)
    return int(linear * (each * held + scales) + rest * width)


def adapter_parameters(lora: LoraParams, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return rank × (inputs + outputs) of the targeted layers. Raises UserError for a target that names none."""
    return sum(lora.rank * sum(shape) for shape in _targeted(lora, shapes).values())


def _targeted(lora: LoraParams, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """Return (outputs, inputs) of the layers that get an adapter, by name."""
    layers = text_layers(shapes)
    names = {name.rpartition(".")[2] for name in layers}
    targets = names if lora.targets == "all-linear" else set(lora.targets)
    if unknown := sorted(targets - names):
        experts = " (those of experts bear no adapter)" if set(unknown) & set(EXPERTS) else ""
        raise UserError(
            f"`lora.targets`: {', '.join(unknown)} is no linear layer of this model{experts}. "
            f"It has: {', '.join(sorted(names))}; or use all-linear"
        )
    return {name: shape for name, shape in layers.items() if name.rpartition(".")[2] in targets}


def _activations(params: TrainerParams, setup: TrainingSetup, base: BaseModelFacts, tokens: int, batch: int) -> int:
    """What is kept for the backward pass, and beside it the larger of the head's logits and the inside of a layer."""
    arch, all_tokens = base.architecture, batch * tokens
    inside = all_tokens * kept_per_token(params.lora, setup, base)
    if setup.attention == "eager":
        inside += batch * arch.num_attention_heads * tokens**2 * EAGER_SCORE_BYTES
    inputs = all_tokens * arch.hidden_size * _width(setup)
    if params.gradient_checkpointing:
        return int(arch.num_hidden_layers * inputs + max(_head(setup, arch, all_tokens), inside))
    return int(arch.num_hidden_layers * inside + max(_head(setup, arch, all_tokens), inside // 3))


def kept_per_token(lora: LoraParams, setup: TrainingSetup, base: BaseModelFacts) -> float:
    """Return the bytes that autograd keeps of one layer for each token, without the scores of eager attention.

    The inputs of the norms (in fp32 whatever the format), queries, keys, values and what attention makes of them, the
    gate before and after its activation and what it is multiplied with; and of each layer with an adapter its input
    after the dropout, and the mask of the dropout, which is in the input's format on a CPU and in bytes on a GPU.
    """
    arch, width = base.architecture, _width(setup)
    norms = sum(shape[0] for name, shape in base.shapes.items() if len(shape) == 1 and "norm" in name)
    head = arch.head_dim or arch.hidden_size // arch.num_attention_heads
    attention = 2 * head * (arch.num_attention_heads + (arch.num_key_value_heads or arch.num_attention_heads))
    mask = (1 if setup.device == "cuda" else 2 if setup.quantization == "nf4" else 4) if lora.dropout else 0
    read = [(name.rpartition(".")[0], shape[1]) for name, shape in _targeted(lora, base.shapes).items()]
    # Without a dropout, the layers of a block that read the same tensor keep it once.
    inputs = sum(size for _, size in (read if lora.dropout else set(read)))
    per_layer = norms * 4 + inputs * (width + mask)
    return per_layer / arch.num_hidden_layers + (attention + 3 * arch.intermediate_size) * width


def _head(setup: TrainingSetup, arch: Architecture, tokens: int) -> int:
    """Return the bytes of the logits that are held at once, and of the gradient of the hidden states."""
    gradient = tokens * arch.hidden_size * 4
    if setup.device == "cuda":
        return min(tokens, HEAD_TOKENS_ON_CUDA) * min(HEAD_TILE, arch.vocab_size) * _width(setup) + gradient
    return min(3 * tokens * arch.vocab_size, HEAD_LOGITS_ON_CPU) * 4 + gradient


def _width(setup: TrainingSetup) -> int:
    return 2 if setup.dtype == "bf16" else 4


def peak_bytes() -> int:
    """Return the most memory that was in use: on the GPU if there is one, else by this process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def return_freed_memory() -> None:
    """Let glibc give every freed tensor back to the system.

    It raises its threshold for that with each large block that is freed, up to 32 MiB, and then keeps holes between
    the tensors that live on: 36 MB for each layer of a model of 135 million parameters.
    """
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        except AttributeError:  # another C library, which has no such setting
            return


def gib(size: int) -> str:
    """Write a number of bytes in GiB, or in MiB where that would be nothing."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.0f} MiB"
