"""Packages that others load wherever they are installed, and that take long to load, are hidden from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal


@contextmanager
def hidden(names: Sequence[str]) -> Iterator[None]:
    """Let those packages not be found in the block; one that is loaded already is left alone."""
    left = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left))  # type: ignore[arg-type]  # None says that there is no such module
    try:
        yield
    finally:
        for name in left:
            del sys.modules[name]


@contextmanager
def plain_layers(quantization: Literal["none", "nf4"]) -> Iterator[None]:
    """Let PEFT make its layers in the block without loading bitsandbytes, unless the base weights are 4-bit.

    It looks for it to see whether a layer is one of its kind, and loading it takes about two seconds of a processor.
    """
    try:
        with hidden(() if quantization == "nf4" else ("bitsandbytes",)):
            _forget()
            yield
    finally:
        _forget()


def _forget() -> None:
    """Let PEFT look again for bitsandbytes."""
    from peft.import_utils import is_bnb_4bit_available, is_bnb_available

    for remembers in (is_bnb_available, is_bnb_4bit_available):
        remembers.cache_clear()
