"""The base model in memory, with every weight that its files have, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.model.base_model import as_listed
from tuneline.parsing.problems import printable
from tuneline_trainer.model.base_model import BaseModelFacts


def load_model(setup: TrainingSetup, base: BaseModelFacts, *, whole: bool = True) -> PreTrainedModel:
    """Load the base model, into the host's memory if no GPU is to hold the `whole` of it.

    What is quantised is so on the device that computes, wherever it is held: a CPU would round some scales otherwise,
    and of a large model take many minutes. Raises UserError if its files do not fit its config, or lack a weight, which
    would be filled with random numbers.
    """
    dtype = torch.bfloat16 if setup.dtype == "bf16" else torch.float32
    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    quantising = nullcontext() if whole or setup.quantization == "none" else _quantising_on(torch.device(setup.device))
    try:
        with as_listed(base.folder) as listed, quantising:
            loaded = AutoModelForCausalLM.from_pretrained(
                str(listed),
                dtype=dtype,
                attn_implementation=setup.attention,
                quantization_config=nf4 if setup.quantization == "nf4" else None,
                device_map=None if setup.device == "cpu" else {"": 0} if whole else {"": "cpu"},
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:  # no transcript is near
        raise UserError(f"base_model: transformers cannot load its weights: {printable(str(error))}") from None
    model, report = cast(tuple[PreTrainedModel, Mapping[str, set[str]]], loaded)
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"base_model: {len(missing)} weights are missing, first {missing[0]}: copy the whole model")
    model.name_or_path = model.config._name_or_path = str(base.folder)
    if setup.device == "cuda":
        model.hf_device_map = {"": 0}  # type: ignore[assignment]  # where it will be when training begins
    if setup.quantization == "nf4":
        _keep_trainable(model)
    return model


@contextmanager
def _quantising_on(device: torch.device) -> Iterator[None]:
    """Let weights that are loaded go to `device` one by one to be quantised, and back to where they are held."""
    from bitsandbytes.nn.modules import Params4bit

    quantise = Params4bit._quantize

    def there_and_back(weight: Params4bit, held: torch.device) -> Params4bit:
        quantise(weight, device)  # type: ignore[no-untyped-call]
        weight.data = weight.data.to(held)
        weight.quant_state.to(held)
        return weight

    Params4bit._quantize = there_and_back  # type: ignore[method-assign]
    try:
        yield
    finally:
        Params4bit._quantize = quantise  # type: ignore[method-assign]


def _keep_trainable(model: PreTrainedModel) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for inference.

    On processors with AVX512-BF16 the first validation would do so, for good, and the packed layers have no backward
    pass: from then on no gradient would flow through them, with no more than a warning.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
