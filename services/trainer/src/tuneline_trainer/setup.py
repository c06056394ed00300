"""What `auto` means here: device, number format, quantisation and attention, settled before anything is loaded."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

import torch

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline_trainer.base_model import Architecture
from tuneline_trainer.stage import TrainerParams

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")


def settle(params: TrainerParams, architecture: Architecture) -> TrainingSetup:
    """Resolve every `auto`. Raises UserError for a choice that this machine or this model cannot do."""
    device = _device()
    dtype = _dtype(params, device)
    return TrainingSetup(
        device=device,
        dtype=dtype,
        quantization=_quantization(params, device),
        attention=_attention(params, device, dtype, architecture),
        max_length=min(params.max_length, architecture.max_position_embeddings),
        threads=params.threads,
        libraries={name: version(name) for name in LIBRARIES if find_spec(name)},
    )


def torch_dtype(setup: TrainingSetup) -> torch.dtype:
    """Return the format that matrices are multiplied in."""
    return torch.bfloat16 if setup.dtype == "bf16" else torch.float32


def _device() -> Literal["cpu", "cuda"]:
    if not torch.cuda.is_available():
        return "cpu"
    if torch.cuda.device_count() > 1:
        raise UserError(
            f"{torch.cuda.device_count()} GPUs are visible and the trainer uses one: "
            "request one GPU for the pod, or set CUDA_VISIBLE_DEVICES=0"
        )
    return "cuda"


def _dtype(params: TrainerParams, device: str) -> Literal["bf16", "fp32"]:
    able = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if params.dtype == "auto":
        return "bf16" if able else "fp32"
    if params.dtype == "bf16" and device == "cuda" and not able:
        raise UserError("`dtype`=bf16: this GPU has no bf16 arithmetic. Use fp32, or a GPU of 2020 or later")
    return params.dtype


def _quantization(params: TrainerParams, device: str) -> Literal["none", "nf4"]:
    wanted = params.quantization
    if wanted == "auto":
        wanted = "nf4" if device == "cuda" else "none"
    if wanted == "nf4" and not find_spec("bitsandbytes"):
        raise UserError("`quantization`=nf4 needs the package bitsandbytes (Linux). Install it, or use none")
    return wanted


def _attention(
    params: TrainerParams, device: str, dtype: str, architecture: Architecture
) -> Literal["eager", "sdpa", "flash_attention_2", "flex_attention"]:
    capped = architecture.attn_logit_softcapping is not None
    wanted = params.attention
    if wanted == "auto":
        return "eager" if capped else "sdpa"
    if wanted == "sdpa" and capped:
        raise UserError(
            f"`attention`=sdpa: it cannot compute the soft-capped scores of {architecture.model_type}. Use auto"
        )
    if wanted in ("flash_attention_2", "flex_attention") and device == "cpu":
        raise UserError(f"`attention`={wanted}: it has no backward pass on a CPU. Use auto, or a GPU")
    if wanted == "flash_attention_2" and (dtype != "bf16" or not find_spec("flash_attn")):
        raise UserError("`attention`=flash_attention_2 needs the package flash-attn and `dtype`=bf16. Use auto")
    return wanted
