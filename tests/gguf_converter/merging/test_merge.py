from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tuneline.errors import UserError
from tuneline.model import llama_cpp
from tuneline.model.base_model import read_checkpoint
from tuneline.stage import InputRecord
from tuneline_gguf_converter.merging.adapter import read_adapter

if TYPE_CHECKING:
    import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("gguf converter"),
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


def merged(base: Path, adapter: Path | None, dtype: Literal["bf16", "f16"] = "bf16") -> dict[str, torch.Tensor]:
    from tuneline_gguf_converter.merging.merge import merged_weights

    checkpoint = read_checkpoint(base)
    found = merged_weights(checkpoint, read_adapter(adapter, checkpoint, RECORD) if adapter else None, dtype)
    return {name: weight[...] for name, weight in found.items()}


def test_the_merge_is_pefts_in_fp32_rounded_once(tiny_base: Path, adapter: Path) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32, attn_implementation="eager")
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    ours = merged(tiny_base, adapter)
    assert ours.keys() == expected.keys() - {"lm_head.weight"}  # tied to the embedding
    base = load_file(tiny_base / "model.safetensors")
    assert sum(not torch.equal(ours[name], base[name].bfloat16()) for name in ours) == 4 * 3
    for name, weight in ours.items():
        assert torch.equal(weight, expected[name].bfloat16()), name


def test_a_model_in_several_files_is_merged_alike(tiny_base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch

    whole, parts = merged(tiny_base, adapter), merged(sharded(tiny_base, tmp_path / "base"), adapter)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_without_an_adapter_every_weight_is_only_rounded(tiny_base: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = load_file(tiny_base / "model.safetensors")
    ours = merged(tiny_base, None)
    assert ours.keys() == base.keys()
    assert all(torch.equal(ours[name], base[name].bfloat16()) for name in base)


def with_weight(base: Path, folder: Path, name: str, value: float) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[7] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_number_that_the_format_cannot_hold_is_refused_by_name(tiny_base: Path, tmp_path: Path) -> None:
    name = "model.layers.2.mlp.up_proj.weight"
    base = with_weight(tiny_base, tmp_path / "large", name, 1e5)
    assert name in merged(base, None, "bf16")
    with pytest.raises(
        UserError, match=rf"merge_dtype.*{name} has numbers up to 1e\+05, which f16 cannot hold: use bf16"
    ):
        merged(base, None, "f16")
    with pytest.raises(UserError, match=rf"{name} has numbers that are infinite or none"):
        merged(with_weight(tiny_base, tmp_path / "nan", name, float("nan")), None)


def test_the_file_is_what_the_converter_makes_of_a_merged_copy(tiny_base: Path, adapter: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader
    from safetensors.torch import save_file

    from tuneline_gguf_converter.merging.writer import Task, link_model, write_merged

    base, copy, links = read_checkpoint(sharded(tiny_base, tmp_path / "base")), tmp_path / "copy", tmp_path / "links"
    template = (tiny_base / "chat_template.jinja").read_text()
    for folder in (copy, links):
        folder.mkdir()
        link_model(base, folder, "bf16", template)
    for link in copy.glob("*.safetensors"):
        link.unlink()
    save_file(merged(base.folder, adapter), copy / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "names.json").write_text('{"general.name": "Toy"}')
    names: list[str | Path] = ["--metadata", tmp_path / "names.json", "--outtype", "bf16"]
    llama_cpp.run_program([sys.executable, llama_cpp.converter(), copy, "--outfile", tmp_path / "copy.gguf", *names])
    task = Task(
        converter=llama_cpp.converter(),
        folder=links,
        metadata=tmp_path / "names.json",
        fingerprint="f" * 64,
        adapter=read_adapter(adapter, base, RECORD),
        dtype="bf16",
        begins=True,
        destination=tmp_path / "ours.gguf",
        problem=tmp_path / "problem.txt",
    )
    write_merged(task, tmp_path / "task.json")
    ours, theirs = (GGUFReader(tmp_path / name) for name in ("ours.gguf", "copy.gguf"))
    assert set(ours.fields) - set(theirs.fields) == {"tuneline.fingerprint"}
    assert {tensor.name: tensor.data.tobytes() for tensor in ours.tensors} == {
        tensor.name: tensor.data.tobytes() for tensor in theirs.tensors
    }


def test_the_original_tokenizer_stays_beside_the_weights(tiny_base: Path, tmp_path: Path) -> None:
    from tuneline_gguf_converter.merging.writer import link_model

    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"vocab_file": "/home/someone/tokenizer.model"}))
    folder = tmp_path / "m"
    folder.mkdir()
    link_model(read_checkpoint(base), folder, "bf16", (base / "chat_template.jinja").read_text())
    for name in ("tokenizer.model", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((folder / "tokenizer_config.json").read_text()) == config
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert not (folder / "README.md").exists()
