"""An adapter, slices, and both arms that the converter makes of them; each is made once.

Tests that use them are in one group, which one process runs.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.gguf_parts import SETTINGS, write_adapter
from kit.slicing import slice_of
from kit.support import Done, run_stage
from tuneline.data.io import write_lines
from tuneline_gguf_converter.stage import STAGE


@pytest.fixture(scope="session")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with random weights for the tiny base model."""
    return write_adapter(tiny_base, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of four transcripts, one of them held out."""
    file = tmp_path_factory.mktemp("slices") / "slices.jsonl"
    turns = [f"Part {i}: could you look up order {i * 1234} for me, please?" for i in range(8)]
    rows = [
        slice_of(f"t{t}", turns[: 2 * point], "validation" if t == 2 else "train") for t in range(4) for point in (2, 4)
    ]
    write_lines(file, rows)
    return file


@pytest.fixture(scope="session")
def given(tiny_base: Path, adapter: Path, slices: Path) -> dict[str, Path]:
    """The inputs of the stage."""
    return {"base_model": tiny_base, "adapter": adapter, "slices": slices}


@pytest.fixture(scope="session")
def finetuned(given: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The result with the adapter."""
    return run_stage(STAGE, tmp_path_factory.mktemp("finetuned"), inputs=given, params=SETTINGS)


@pytest.fixture(scope="session")
def base_arm(given: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The result of the variant without it."""
    folder = tmp_path_factory.mktemp("base-arm")
    return run_stage(STAGE, folder, inputs=given, params=SETTINGS, variant="base")


@pytest.fixture(scope="session")
def finetuned_file(finetuned: Done) -> Path:
    """The GGUF file with the adapter."""
    return finetuned.paths["model"] / str(json.loads(finetuned.paths["gguf"].read_text())["file"])
