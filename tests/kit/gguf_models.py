"""GGUF files for tests: the tiny base model converted by llama.cpp's own converter, without Tuneline's stage."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from pathlib import Path

import gguf
import numpy as np

from tuneline.model import llama_cpp


def convert_tiny(base: Path) -> Path:
    """Return the model in `base` with 16 bits per weight; the file beside it is kept for other workers and sessions."""
    stamp = hashlib.sha256((base / "made-from.txt").read_bytes()).hexdigest()[:12]
    file = base.with_name(f"{base.name}-{stamp}.gguf")
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            part = file.with_suffix(".part")
            llama_cpp.run_program([sys.executable, llama_cpp.converter(), base, "--outtype", "f16", "--outfile", part])
            part.rename(file)
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
