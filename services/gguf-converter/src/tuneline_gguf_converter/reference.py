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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.nn.Module.to(model, device)
    found = []
    with torch.inference_mode():
        for sample in samples:
            # Logits at a token predict the next one. Only those of the positions are computed: the head is large.
            before = torch.tensor(sample.positions, device=device) - 1
            ids = torch.tensor([sample.ids], device=device)
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=before).logits
            found.append(logits[0].argmax(-1).tolist())
            tick()
    return found
