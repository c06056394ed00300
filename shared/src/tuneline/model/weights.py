"""The header of a file of weights (safetensors): names and shapes, read without a library and without the weights.

The format: eight bytes with the header's length, the header as JSON, then the tensors without gaps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tuneline.errors import UserError

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_AT_ONCE = 1 << 20

# fmt: off
_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}
# fmt: on
Size = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: str
    shape: list[Size]
    data_offsets: Annotated[list[Size], Field(min_length=2, max_length=2)]


_HEADER = TypeAdapter(dict[str, _Tensor | dict[str, str]])


def read_shapes(file: Path, port: str = "base_model") -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file, by name. Raises UserError when it is damaged."""
    return {name: tuple(tensor.shape) for name, tensor in _read_header(file, port)[0].items()}


def zeros(file: Path, port: str) -> set[str]:
    """Return the names of the tensors of a small file whose numbers are all 0. Raises UserError when it is damaged."""
    tensors, start = _read_header(file, port)
    found = set()
    with file.open("rb") as weights:
        for name, tensor in tensors.items():
            weights.seek(start + tensor.data_offsets[0])
            left, zero = tensor.data_offsets[1] - tensor.data_offsets[0], True
            while left and zero:
                part = weights.read(min(left, _AT_ONCE))
                left, zero = left - len(part), not part.strip(b"\0")
            if zero:
                found.add(name)
    return found


def _read_header(file: Path, port: str) -> tuple[dict[str, _Tensor], int]:
    """Return the tensors by name, and where in the file the first begins."""
    try:
        with file.open("rb") as weights:
            length = int.from_bytes(weights.read(8), "little")
            header = weights.read(length) if length <= MAX_HEADER_BYTES else b""
        found = _HEADER.validate_json(header)
        tensors = {name: tensor for name, tensor in found.items() if isinstance(tensor, _Tensor)}
        _refuse_gaps(tensors, file.stat().st_size - 8 - length)
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise UserError(f"{port}: {file.name} is damaged ({type(error).__name__}): copy it again") from None
    return tensors, 8 + length


def bare_name(name: str) -> str:
    """Return a weight's name without the parts that files, and transformers in memory, put differently before it.

    Of a model that also sees, `language_model.model.layers.0…` of the file is `model.language_model.layers.0…` there.
    """
    return re.sub(r"^(?:(?:model|language_model)\.)+", "", name)


def names_in_files(shapes: Iterable[str]) -> dict[str, str]:
    """Return the names of weights by their bare names; without those that two weights share."""
    found: dict[str, list[str]] = {}
    for name in shapes:
        found.setdefault(bare_name(name), []).append(name)
    return {bare: names[0] for bare, names in found.items() if len(names) == 1}


def _refuse_gaps(tensors: dict[str, _Tensor], size: int) -> None:
    """Raise ValueError unless the tensors fill `size` bytes, each as its shape says."""
    spans = sorted(tuple(tensor.data_offsets) for tensor in tensors.values())
    borders = [(0, 0), *spans, (size, size)]
    if any(end != start for (_, end), (start, _) in pairwise(borders)):
        raise ValueError("the tensors do not fill the file")
    for tensor in tensors.values():
        start, end = tensor.data_offsets
        if (end - start) * 8 != math.prod(tensor.shape) * _BITS[tensor.dtype]:
            raise ValueError("a tensor has another size than its shape")
