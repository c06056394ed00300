"""Merges the adapter into the base model, one weight at a time.

PEFT's own merge holds the whole model in memory, twice as large if it is to be exact. Here a weight is read, changed in
fp32, rounded once to its final format and written with the others of its file: memory for one file is enough. Without
an adapter every weight takes the same way, so that a base model and a fine-tuned one are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tuneline.model.base_model import Checkpoint, copy_text_files, read_object, write_object
from tuneline_gguf_converter.adapter import Adapter

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}


def merge(
    base: Checkpoint,
    adapter: Adapter | None,
    destination: Path,
    dtype: Literal["bf16", "f16"],
    template: str,
    tick: Callable[[], None],
) -> None:
    """Write the merged model into `destination`, which must not exist, with the chat template it was trained with.

    `tick` is called after each weight file.
    """
    destination.mkdir()
    copy_text_files(base.folder, destination)
    (destination / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")
    config = read_object(destination / "config.json")
    config.pop("torch_dtype", None)
    write_object(destination / "config.json", config | {"dtype": str(DTYPES[dtype]).removeprefix("torch.")})
    for file in base.files:
        _merge_file(file, adapter, destination / file.name, DTYPES[dtype])
        tick()


def _merge_file(file: Path, adapter: Adapter | None, destination: Path, dtype: torch.dtype) -> None:
    merged = {}
    with safe_open(file, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118
            weight = weights.get_tensor(name)
            if adapter and name in adapter.targets:
                weight = weight.float() + _delta(adapter, name)
            merged[name] = weight.to(dtype) if weight.is_floating_point() else weight
    save_file(merged, destination, metadata={"format": "pt"})


def _delta(adapter: Adapter, target: str) -> torch.Tensor:
    """Return what is added to a weight: scaling · B·A in fp32 (arXiv:2106.09685)."""
    with safe_open(adapter.file, framework="pt") as matrices:
        down, up = (matrices.get_tensor(adapter.key(target, half)).float() for half in "AB")
    return torch.mul(up @ down, adapter.scaling)
