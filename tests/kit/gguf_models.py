"""GGUF files for tests: the tiny base model converted by llama.cpp's own converter, without Tuneline's stage."""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

from tuneline.model import llama_cpp


def convert_tiny(base: Path, file: Path) -> Path:
    """Convert the model in `base` to a GGUF file of 16 bits per weight."""
    llama_cpp.run_program([sys.executable, llama_cpp.converter(), base, "--outtype", "bf16", "--outfile", file])
    return file


def write_smallest(file: Path, **fields: int) -> Path:
    """Write a sound header of a model with nothing in it; `fields` change its sizes."""
    sizes = {"block_count": 1, "context_length": 8, "embedding_length": 8} | fields
    writer = gguf.GGUFWriter(file, "llama")
    for name, size in sizes.items():
        writer.add_uint32(f"llama.{name}", size)
    writer.add_tensor("weights", np.zeros((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
