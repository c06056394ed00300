"""What the merged model itself would say: the likeliest next tokens at the compared positions, computed with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from tuneline_gguf_converter.checking.fidelity import MOST_NAMED, Foreseen
from tuneline_gguf_converter.checking.samples import Sample
from tuneline_gguf_converter.merging.merge import DTYPES, Dtype, Weight

MOST_TOKENS = 8192
"""Of the samples in one forward pass, padding included."""
MOST_LOGITS = 1 << 27
"""Of one forward pass: a quarter of a GB with 16 bits each."""


def foresee(
    folder: Path,
    weights: Mapping[str, Weight],
    dtype: Dtype,
    samples: list[Sample],
    threads: int | None,
    tick: Callable[[], None],
) -> list[list[Foreseen]]:
    """Return for each sample the likeliest tokens at each of its positions, given the true text before it.

    `folder` has the model's config.json. It is computed in `dtype`, on a GPU if there is one. `tick` is called after
    each sample.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):  # which class and which part of the config it takes, without its weights
        outline = AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    model = type(outline).from_pretrained(
        None,
        config=outline.config,
        state_dict=weights,
        dtype=DTYPES[dtype],
        attn_implementation="eager",  # the one kernel that every architecture has, soft-capped scores included
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.nn.Module.to(model, device)
    found: dict[int, list[Foreseen]] = {}
    with torch.inference_mode():
        for batch in batches(samples, model.config.get_text_config().vocab_size):
            ids, positions = padded([samples[place] for place in batch])
            # Logits at a token predict the next one. Only those of the positions are computed: the head is large.
            before = torch.tensor(positions, device=device) - 1
            logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=before).logits
            for row, place in enumerate(batch):
                own = [positions.index(position) for position in samples[place].positions]
                found[place] = _foreseen(logits[row, own])
                tick()
    return [found[place] for place in range(len(samples))]


def _foreseen(logits: torch.Tensor) -> list[Foreseen]:
    """Return what each row of `logits` (positions × vocabulary) foresees."""
    logprobs, tokens = logits.float().log_softmax(-1).topk(min(MOST_NAMED, logits.shape[-1]))
    rows = zip(cast(list[list[int]], tokens.tolist()), cast(list[list[float]], logprobs.tolist()), strict=True)
    return [Foreseen(named[0], dict(zip(named, of, strict=True))) for named, of in rows]


def batches(samples: list[Sample], vocabulary: int) -> Iterator[list[int]]:
    """Put samples of similar length together, by their places; each batch is as large as memory should be."""
    batch: list[int] = []
    for place in sorted(range(len(samples)), key=lambda place: len(samples[place].ids)):
        together = [samples[other] for other in (*batch, place)]
        positions = len({position for sample in together for position in sample.positions})
        tokens = len(together) * len(samples[place].ids)
        if batch and (tokens > MOST_TOKENS or len(together) * positions * vocabulary > MOST_LOGITS):
            yield batch
            batch = []
        batch.append(place)
    yield batch


def padded(samples: list[Sample]) -> tuple[torch.Tensor, list[int]]:
    """Return the token ids as one tensor, and all positions. What stands after a text changes nothing before it."""
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.tensor([sample.ids + [0] * (longest - len(sample.ids)) for sample in samples])
    return ids, sorted({position for sample in samples for position in sample.positions})
