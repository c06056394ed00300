"""What takes half of the time to start and that a training on a CPU never uses.

transformers, PEFT and accelerate import each of these if it is installed: for 4-bit weights, for models that find
objects in pictures, for a cloud's console.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

SPARED = ("bitsandbytes", "scipy", "boto3")


@contextmanager
def spared(quantization: str) -> Iterator[None]:
    """Let what is imported in the block find none of them, unless `quantization` (of the parameters) may be 4-bit.

    They are left alone where they are loaded, and where transformers is: it has looked for them by then.
    """
    import torch

    four_bits = quantization == "nf4" or (quantization == "auto" and torch.cuda.is_available())
    with _hidden(() if four_bits or "transformers" in sys.modules else SPARED):
        yield


@contextmanager
def plain_layers(quantization: Literal["none", "nf4"]) -> Iterator[None]:
    """Let PEFT make its layers in the block without loading bitsandbytes, unless the base weights are 4-bit.

    It looks for it to see whether a layer is one of its kind, and loading it takes five seconds of a processor.
    """
    try:
        with _hidden(() if quantization == "nf4" else ("bitsandbytes",)):
            _forget()
            yield
    finally:
        _forget()


def _forget() -> None:
    """Let PEFT look again for bitsandbytes."""
    from peft.import_utils import is_bnb_4bit_available, is_bnb_available

    for remembers in (is_bnb_available, is_bnb_4bit_available):
        remembers.cache_clear()


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let those of the modules that are not loaded not be found in the block."""
    left = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left))  # type: ignore[arg-type]  # None says that there is no such module
    try:
        yield
    finally:
        for name in left:
            del sys.modules[name]
