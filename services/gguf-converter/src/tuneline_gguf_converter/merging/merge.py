"""Merges the adapter into the base model, one weight at a time, wherever the weights are going.

PEFT's own merge holds the whole model in memory, twice as large if it is to be exact, and writes a copy of it. Here a
weight is read, changed in fp32 and rounded once to its final format when the converter or the reference asks for it:
memory for one weight is enough, and no merged model lies on disk. Without an adapter every weight takes the same way,
so that a base model and a fine-tuned one are treated alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open

from tuneline.errors import UserError
from tuneline.model.base_model import Checkpoint
from tuneline.model.weights import EMBEDDING, HEAD
from tuneline.parsing.problems import printable
from tuneline_gguf_converter.merging.adapter import Adapter

Dtype = Literal["bf16", "f16"]
DTYPES: dict[Dtype, torch.dtype] = {"bf16": torch.bfloat16, "f16": torch.float16}


def merged(name: str, weight: torch.Tensor, adapter: Adapter | None, dtype: Dtype) -> torch.Tensor:
    """Return the base weight `name` as the merged model has it. Raises UserError for a number that `dtype` cannot hold.

    Weights of whole numbers, such as buffers with positions, stay as they are.
    """
    if adapter and (name in adapter.replaced or name in adapter.changes):
        weight = _changed(name, weight, adapter)
    if not weight.is_floating_point():
        return weight
    rounded = weight.to(DTYPES[dtype])
    if not torch.isfinite(rounded).all():
        raise UserError(_not_finite(name, weight, dtype))
    return rounded


class Weight:
    """A weight of the merged model that is read and merged only when it is indexed, as transformers loads them.

    It is made of the base model's weight `source`.
    """

    def __init__(self, name: str, source: str, file: Path, adapter: Adapter | None, dtype: Dtype) -> None:
        self._parts = name, source, file, adapter, dtype

    def __getitem__(self, _whole: object) -> torch.Tensor:
        name, source, file, adapter, dtype = self._parts
        with safe_open(file, framework="pt") as weights:
            return merged(name, weights.get_tensor(source), adapter, dtype)


def merged_weights(base: Checkpoint, adapter: Adapter | None, dtype: Dtype) -> dict[str, Weight]:
    """Return every weight of the merged model by its name in the base model's files; none is read yet."""
    places = {name: (name, file) for file in base.files for name in _names(file)}
    if adapter and adapter.unties:
        places[HEAD] = places[EMBEDDING]
    return {name: Weight(name, source, file, adapter, dtype) for name, (source, file) in places.items()}


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as weights:
        return list(weights.keys())


def _changed(name: str, weight: torch.Tensor, adapter: Adapter) -> torch.Tensor:
    """Return the weight with scaling · B·A added in fp32 (arXiv:2106.09685), each row of the length it was trained to.

    That length is DoRA's (arXiv:2402.09353, equation 5).
    """
    with safe_open(adapter.file, framework="pt") as parts:
        if name in adapter.replaced:
            weight = parts.get_tensor(adapter.replaced[name])
        if (change := adapter.changes.get(name)) is None:
            found = weight
        else:
            up, down = (parts.get_tensor(part).float() for part in (change.up, change.down))
            delta = torch.mul(up @ down, change.scaling)
            found = weight.float() + (delta.T if change.turned else delta)
            if change.magnitude:
                length = torch.linalg.norm(found, dim=1, keepdim=True)
                found = parts.get_tensor(change.magnitude).float().view(-1, 1) / length * found
    if torch.isfinite(weight).all() and not torch.isfinite(found).all():
        raise UserError(f"adapter: what it makes of {printable(name)} is infinite or no number (NaN): train it anew")
    return found


def _not_finite(name: str, weight: torch.Tensor, dtype: Dtype) -> str:
    if torch.isfinite(weight).all():
        most = weight.abs().max().item()
        return f"`merge_dtype`: {printable(name)} has numbers up to {most:.3g}, which {dtype} cannot hold: use bf16"
    return f"{printable(name)} has numbers that are infinite or none (NaN): such a model says nothing. Take another one"
