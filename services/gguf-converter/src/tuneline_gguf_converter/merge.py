"""Merges the adapter into the base model, one weight at a time.

PEFT's own merge holds the whole model in memory, twice as large if it is to be exact. Here a weight is read, changed in
fp32, rounded once to its final format and written with the others of its file: memory for one file is enough. Without
an adapter every weight takes the same way, so that a base model and a fine-tuned one are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tuneline.model.base_model import Checkpoint, copy_text_files, read_object, write_object
from tuneline_gguf_converter.adapter import Adapter

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}

Delta = Callable[[str], torch.Tensor | None]


def merge(
    base: Checkpoint,
    adapter: Adapter | None,
    destination: Path,
    dtype: Literal["bf16", "f16"],
    tick: Callable[[], None],
) -> None:
    """Write the merged model into `destination`, which must not exist; `tick` is called after each weight file."""
    destination.mkdir()
    copy_text_files(base.folder, destination)
    config = read_object(destination / "config.json")
    config.pop("torch_dtype", None)
    write_object(destination / "config.json", config | {"dtype": str(DTYPES[dtype]).removeprefix("torch.")})
    with _deltas(adapter) as delta:
        for file in base.files:
            _merge_file(file, delta, destination / file.name, DTYPES[dtype])
            tick()


def _merge_file(file: Path, delta: Delta, destination: Path, dtype: torch.dtype) -> None:
    with safe_open(file, framework="pt") as weights:
        merged = {name: _merged(weights.get_tensor(name), delta(name), dtype) for name in weights.keys()}  # noqa: SIM118
    save_file(merged, destination, metadata={"format": "pt"})


def _merged(weight: torch.Tensor, delta: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    if delta is not None:
        return (weight.float() + delta).to(dtype)
    return weight.to(dtype) if weight.is_floating_point() else weight


@contextmanager
def _deltas(adapter: Adapter | None) -> Iterator[Delta]:
    """Give a function from a weight's name to what is added to it: scaling · B·A in fp32 (arXiv:2106.09685)."""
    if adapter is None:
        yield lambda name: None
        return
    with safe_open(adapter.file, framework="pt") as matrices:

        def delta(name: str) -> torch.Tensor | None:
            if name not in adapter.targets:
                return None
            down, up = (matrices.get_tensor(adapter.key(name, half)).float() for half in "AB")
            return torch.mul(up @ down, adapter.scaling)

        yield delta
