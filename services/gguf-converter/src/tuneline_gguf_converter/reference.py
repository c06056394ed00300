"""What the merged model itself would say: the likeliest next token at the compared positions, computed with torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from tuneline_gguf_converter.samples import Sample


def likeliest_tokens(
    model_folder: Path, samples: list[Sample], threads: int | None, tick: Callable[[], None]
) -> list[list[int]]:
    """Return for each sample the likeliest token at each of its positions, given the true text before it.

    The model is computed in the format it is stored in, on a GPU if there is one. `tick` is called after each sample.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(
        model_folder,
        dtype="auto",
        attn_implementation="eager",  # the one kernel that every architecture has, soft-capped scores included
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    torch.nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")
    found = []
    with torch.inference_mode():
        for sample in samples:
            found.append(_likeliest(model, sample))
            tick()
    return found


def _likeliest(model: torch.nn.Module, sample: Sample) -> list[int]:
    # The logits at a token predict the one after it. Only those of the positions are computed: the head is large.
    device = next(model.parameters()).device
    before = torch.tensor(sample.positions, device=device) - 1
    ids = torch.tensor([sample.ids], device=device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=before).logits
    choices: list[int] = logits[0].argmax(-1).tolist()
    return choices
