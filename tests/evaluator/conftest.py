"""Two arms that a real llama-server can serve."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from kit.evaluator_parts import persona_row, write_info
from kit.judge_parts import RUBRIC
from tuneline.model.chat import ChatTokenizer


@pytest.fixture(scope="session")
def arms(tiny_base: Path, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Inputs of the stage: the base arm, and a finetuned arm with the rows of one weight matrix in another order."""
    folder = tmp_path_factory.mktemp("arms")
    template = ChatTokenizer.from_folder(tiny_base).template_sha256
    for name in ("base", "tuned"):
        (folder / name).mkdir()
        shutil.copy(tiny_gguf, folder / name / f"{name}.gguf")
        write_info(folder / f"{name}.json", f"{name}.gguf", template_sha256=template)
    (folder / "Modelfile").write_text('FROM ./model/tuned.gguf\nPARAMETER num_ctx 2048\nPARAMETER stop "<end>"\n')
    other_weights(folder / "tuned" / "tuned.gguf", "blk.1.ffn_down.weight")
    return {
        "model": folder / "tuned", "model_info": folder / "tuned.json",
        "base": folder / "base", "base_info": folder / "base.json", "base_model": tiny_base,
        "modelfile": folder / "Modelfile",
        "rubric": RUBRIC, "judge": {"provider": "heuristic"},
        "personas": {"personas": [persona_row(number) for number in range(6)]},
    }  # fmt: skip


def other_weights(path: Path, name: str) -> None:
    """Turn the rows of one tensor of a .gguf file round."""
    reader = GGUFReader(path, "r+")
    tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
    tensor.data[:] = tensor.data[::-1].copy()
    reader.data.flush()


@pytest.fixture
def third_arm(arms: Mapping[str, Any], tmp_path: Path) -> Mapping[str, Any]:
    """The inputs with another finetuned model."""
    folder = tmp_path / "third"
    shutil.copytree(arms["model"], folder)
    other_weights(folder / "tuned.gguf", "blk.2.ffn_down.weight")
    return {**arms, "model": folder}
