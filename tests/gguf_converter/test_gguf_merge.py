from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tuneline.model.base_model import read_checkpoint
from tuneline.stage import InputRecord
from tuneline_gguf_converter.adapter import read_adapter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # asked for by PEFT
]

RECORD = InputRecord(uri=None, sha256="00" * 32, size=1, count=1)


def sharded(base: Path, folder: Path) -> Path:
    """Copy a model with its weights in two files and an index."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def merged(base: Path, adapter: Path | None, folder: Path) -> Path:
    from tuneline_gguf_converter.merge import merge

    checkpoint, files = read_checkpoint(base), []
    merge(
        checkpoint,
        read_adapter(adapter, checkpoint, RECORD) if adapter else None,
        folder,
        "bf16",
        (base / "chat_template.jinja").read_text(),
        lambda: files.append(1),
    )
    assert len(files) == len(checkpoint.files)
    return folder


def test_the_merge_is_pefts_in_fp32_rounded_once(tiny_base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="eager")
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    ours = load_file(merged(tiny_base, adapter, tmp_path / "m") / "model.safetensors")
    assert ours.keys() == expected.keys() - {"lm_head.weight"}  # tied to the embedding
    base = load_file(tiny_base / "model.safetensors")
    assert sum(not torch.equal(ours[name], base[name].bfloat16()) for name in ours) == 4 * 3
    for name, weight in ours.items():
        assert torch.equal(weight, expected[name].bfloat16()), name


def test_a_model_in_several_files_is_merged_alike(tiny_base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    whole = load_file(merged(tiny_base, adapter, tmp_path / "whole") / "model.safetensors")
    folder = merged(sharded(tiny_base, tmp_path / "base"), adapter, tmp_path / "parts")
    parts = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_without_an_adapter_every_weight_is_only_rounded(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = load_file(tiny_base / "model.safetensors")
    ours = load_file(merged(tiny_base, None, tmp_path / "m") / "model.safetensors")
    assert ours.keys() == base.keys()
    assert all(torch.equal(ours[name], base[name].bfloat16()) for name in base)


def test_the_original_tokenizer_stays_beside_the_weights(tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"vocab_file": "/home/someone/tokenizer.model"}))
    folder = merged(base, None, tmp_path / "m")
    for name in ("tokenizer.model", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((folder / "tokenizer_config.json").read_text()) == config
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert not (folder / "README.md").exists()
