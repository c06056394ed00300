"""GGUF files for tests: the tiny base model converted by llama.cpp's own converter, without Tuneline's stage."""

from __future__ import annotations

import sys
from pathlib import Path

from tuneline.model import llama_cpp


def convert_tiny(base: Path, file: Path) -> Path:
    """Convert the model in `base` to a GGUF file of 16 bits per weight."""
    llama_cpp.run_program([sys.executable, llama_cpp.converter(), base, "--outtype", "bf16", "--outfile", file])
    return file
