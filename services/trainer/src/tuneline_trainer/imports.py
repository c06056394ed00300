"""What takes half of the time to start and that a training on a CPU never uses.

transformers, PEFT and accelerate import each of these if it is installed: for 4-bit weights, for models that find
objects in pictures, for a cloud's console.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tuneline_trainer.model.hidden import hidden

SPARED = ("bitsandbytes", "scipy", "boto3")


@contextmanager
def spared(quantization: str) -> Iterator[None]:
    """Let what is imported in the block find none of them, unless `quantization` (of the parameters) may be 4-bit.

    They are left alone where they are loaded, and where transformers is: it has looked for them by then.
    """
    import torch

    four_bits = quantization == "nf4" or (quantization == "auto" and torch.cuda.is_available())
    with hidden(() if four_bits or "transformers" in sys.modules else SPARED):
        yield
