from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.gguf_parts import with_config
from kit.scripted_hub import serve_hub
from tuneline.errors import UserError
from tuneline.model.base_model import read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline.stage import InputRecord
from tuneline_gguf_converter.merging.adapter import read_adapter, refuse_other_chat

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gguf converter")]

SHA256 = "0123456789abcdef" * 4
HERE = InputRecord(uri="hf://google/gemma-2-9b-it@1", sha256=SHA256, size=1, count=1)


def read(folder: Path, base: Path, record: InputRecord = HERE) -> Any:
    return read_adapter(folder, read_checkpoint(base), record)


def test_an_adapter_for_this_base_model_is_read(adapter: Path, tiny_base: Path) -> None:
    found = read(adapter, tiny_base)
    assert {change.scaling for change in found.changes.values()} == {0.5}
    assert len(found.changes) == 4 * 3
    assert "model.layers.0.self_attn.q_proj.weight" in found.changes


@pytest.mark.parametrize("name", [f"base_model@sha256:{SHA256[:12]}", "google/gemma-2-9b-it", "/some/folder", None, ""])
def test_a_base_model_that_may_be_the_same_is_accepted(
    name: str | None, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    read(with_config(adapter, tmp_path / "a", base_model_name_or_path=name), tiny_base)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model@sha256:ffff00001111", "the base model sha256:ffff00001111, and this one is sha256:0123456789ab"),
        (
            "google/gemma-2-9b",
            "the base model google/gemma-2-9b, and this one is google/gemma-2-9b-it.* If one is a copy",
        ),
    ],
)
def test_an_adapter_that_names_another_base_model_is_refused(
    name: str, message: str, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"adapter: it was trained on {message}"):
        read(with_config(adapter, tmp_path / "a", base_model_name_or_path=name), tiny_base)


@pytest.mark.parametrize("trained_on", ["org/other", "toys/tiny"])
def test_the_check_compares_the_base_model_that_an_adapter_names_with_the_one_of_the_run(
    adapter: Path, tiny_base: Path, tmp_path: Path, trained_on: str
) -> None:
    named = with_config(adapter, tmp_path / "a", base_model_name_or_path=trained_on)
    inputs = {"base_model": "hf://toys/tiny", "adapter": str(named), "slices": str(tmp_path / "a")}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"run": "r", "goal": "gguf-converter", "inputs": inputs}))
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir()}
    with serve_hub(files, tmp_path / "hub") as hub:
        command: list[str | Path] = [Path(sys.executable).parent / "tuneline", "check", file]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | hub.environ
        )
    problem = "run.yaml:3: inputs.adapter: it was trained on the base model org/other, and this one is toys/tiny"
    told = problem in done.stderr
    assert told == (trained_on == "org/other"), done.stderr


def test_an_adapter_of_other_shapes_is_refused(adapter: Path, tiny_base: Path) -> None:
    base = read_checkpoint(tiny_base)
    name = "model.layers.1.self_attn.v_proj.weight"
    other = base._replace(shapes=base.shapes | {name: (64, 512)})
    with pytest.raises(UserError, match=rf"adapter: it changes {name} of shape 128×256, .* has shape 64×512"):
        read_adapter(adapter, other, HERE)
    fewer = base._replace(shapes={key: shape for key, shape in base.shapes.items() if "layers.3" not in key})
    with pytest.raises(UserError, match=r"it changes model\.layers\.3\..* has no such weight"):
        read_adapter(adapter, fewer, HERE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "uses target_parameters"),
        ({"trainable_token_indices": [1]}, "uses trainable_token_indices"),
        ({"lora_bias": True}, "uses lora_bias"),
        ({"layer_replication": [[0, 2]]}, "uses layer_replication"),
        ({"alora_invocation_tokens": [1]}, "uses alora_invocation_tokens"),
        ({"bias": "some"}, "uses bias"),
        ({"alpha_pattern": {"q(_proj)*": 4}}, "alpha_pattern: q.* is not read here"),
        ({"alpha_pattern": {"(q_proj": 4}}, "alpha_pattern: .* is no pattern"),
        ({"alpha_pattern": {"q_proj": True}}, "alpha_pattern: q_proj is not read here"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights pissa: it began by changing .* path_initial_model_for_weight",
        ),
        ({"swift_type": "ADAPTER"}, "uses swift_type"),
        ({"invented_tomorrow": {"x": 1}}, "uses invented_tomorrow"),
        ({"peft_type": "IA3"}, "is not a LoRA adapter"),
        ({"r": None}, "no numbers"),
        ({"r": 0}, "no numbers"),
        ({"r": "8"}, "no numbers"),
        ({"lora_alpha": float("nan")}, "no numbers"),
        ({"a\nb": 1}, r"uses a\\nb,"),
    ],
)
def test_a_formula_that_is_not_merged_here_is_refused(
    values: dict[str, Any], message: str, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"adapter_config\.json.*{message}"):
        read(with_config(adapter, tmp_path / "a", **values), tiny_base)


def test_settings_of_the_training_alone_do_not_matter(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    swift = {"swift_type": "LORA", "lora_dtype": None, "lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-6}
    found = read(with_config(adapter, tmp_path / "a", **swift), tiny_base)
    assert found.changes == read(adapter, tiny_base).changes


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    found = read(with_config(adapter, tmp_path / "a", use_rslora=True), tiny_base)
    assert all(change.scaling == pytest.approx(4 / 8**0.5) for change in found.changes.values())


def test_missing_and_damaged_files_are_named(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"adapter: adapter_model\.safetensors is damaged"):
        read(folder, tiny_base)
    weights.unlink()
    with pytest.raises(UserError, match=r"adapter: adapter_model\.safetensors is missing"):
        read(folder, tiny_base)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter: adapter_config\.json is not JSON"):
        read(folder, tiny_base)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"adapter: adapter_config\.json is missing"):
        read(folder, tiny_base)


def test_weights_that_can_run_code_are_refused_with_the_way_out(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match=r"adapter_model\.bin, a format that can run code .* save_pretrained"):
        read(folder, tiny_base)


def test_a_tokenizer_beside_the_adapter_that_makes_other_tokens_is_refused(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Unsloth can give a token of the base model the spelling of the template's end of turn."""
    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    saved, chat = folder / "tokenizer.json", ChatTokenizer.from_folder(tiny_base)
    content = json.loads((tiny_base / "tokenizer.json").read_text())
    cut = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    saved.write_text(json.dumps(content | {"truncation": cut}))
    refuse_other_chat(folder, chat)
    saved.write_text(saved.read_text().replace("<end_of_turn>", "<|im_end|>"))
    with pytest.raises(UserError, match=r"adapter: the tokenizer in its folder makes other tokens of a conversation"):
        refuse_other_chat(folder, chat)
    saved.write_text("{")
    with pytest.raises(UserError, match=r"adapter: tokenizer\.json cannot be read"):
        refuse_other_chat(folder, chat)


def test_weights_that_deepspeed_did_not_gather_are_named_as_such(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(adapter, tmp_path / "a"))
    file = folder / "adapter_model.safetensors"
    save_file({name: matrix[:0] for name, matrix in load_file(file).items()}, file)
    with pytest.raises(UserError, match=r"adapter: .* is empty, as DeepSpeed's ZeRO 3 leaves weights"):
        read(folder, tiny_base)


def test_folders_that_training_programs_leave_are_told_apart(adapter: Path, tiny_base: Path, tmp_path: Path) -> None:
    """LLaMA-Factory, axolotl and Unsloth write a folder for each checkpoint, and merged models beside adapters."""
    for step in (90, 100):
        shutil.copytree(adapter, tmp_path / "out" / f"checkpoint-{step}")
    with pytest.raises(UserError, match=r"adapter_config\.json is missing: it stands in folders like checkpoint-100"):
        read(tmp_path / "out", tiny_base)
    with pytest.raises(UserError, match=r"adapter_config\.json is missing: this is a whole model, .* as `base_model`"):
        read(tiny_base, tiny_base)
    with pytest.raises(UserError, match=r"adapter_config\.json is missing: give the folder that it lies in"):
        read(adapter / "adapter_model.safetensors", tiny_base)
    with pytest.raises(UserError, match=r"adapter: its weights are only there as global_step9, pieces of DeepSpeed"):
        (with_config(adapter, tmp_path / "pieces") / "adapter_model.safetensors").unlink()
        (tmp_path / "pieces" / "global_step9").mkdir()
        read(tmp_path / "pieces", tiny_base)


@pytest.mark.parametrize(
    "name",
    [
        "unsloth/gemma-2-9b-it-bnb-4bit", "someone/Gemma-2-9B-it-unsloth-bnb-4bit", "mlx-community/gemma-2-9b-it-8bit",
        "someone/gemma-2-9b-it-GPTQ-Int4", "someone/gemma-2-9b-it-AWQ", "someone/Gemma-2-9B-it-FP8-dynamic",
        "old/Meta-Gemma-2-9b-it-hf",
    ],
)  # fmt: skip
def test_a_copy_in_fewer_bits_that_was_trained_on_is_the_same_model(
    name: str, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    read(with_config(adapter, tmp_path / "a", base_model_name_or_path=name), tiny_base)
