from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.errors import UserError
from tuneline.model import base_model
from tuneline.model.base_model import as_listed, copy_text_files, hub_name, read_checkpoint, refuse_code
from tuneline.model.weights import refuse_unfit, refuse_wrapped
from tuneline.parsing.patterns import is_wanted

CONFIG = {"model_type": "gemma2", "max_position_embeddings": 512}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 17\n"


def tensors(file: Path, **shapes: tuple[int, ...]) -> Path:
    """Write a safetensors file of zeros in 16 bits."""
    return tensors_of(file, "BF16", shapes)


def tensors_of(file: Path, dtype: str, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    header, end, width = {}, 0, {"BF16": 2, "F8_E4M3": 1, "I8": 1, "I32": 4, "I64": 8}[dtype]
    for name, shape in shapes.items():
        size = width * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    return file


def put(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    put(folder / "config.json", CONFIG)
    tensors(folder / "model.safetensors", a=(2, 3), b=(4,))
    return folder


def in_two_files(folder: Path, **weight_map: object) -> None:
    tensors(folder / "one.safetensors", a=(2, 3))
    put(folder / "model.safetensors.index.json", {"weight_map": {"a": "one.safetensors", **weight_map}})


def test_shapes_come_from_the_headers(folder: Path) -> None:
    found = read_checkpoint(folder)
    assert found.shapes == {"a": (2, 3), "b": (4,)}
    assert (found.parameters, found.model_type) == (10, "gemma2")
    in_two_files(folder, b="model.safetensors")
    assert [file.name for file in read_checkpoint(folder).files] == ["model.safetensors", "one.safetensors"]


@pytest.mark.parametrize("name", ["tokenizer_extra.py", "modeling.py", "modeling.pyc"])
def test_code_in_the_folder_is_refused_with_the_way_out(folder: Path, name: str) -> None:
    (folder / name).write_text("raise SystemExit")
    with pytest.raises(UserError, match=rf"^base_model: {name}: code that comes with a model is never run.* Remove it"):
        read_checkpoint(folder)


def test_pickles_beside_safetensors_are_passed_over_and_refused_where_they_are_all_there_is(folder: Path) -> None:
    (folder / "pytorch_model.bin").touch()
    assert read_checkpoint(folder).files == (folder / "model.safetensors",)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"only there as pytorch_model\.bin.*save it with save_pretrained"):
        read_checkpoint(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors or model\.safetensors\.index\.json: give a folder"):
        read_checkpoint(folder)


def test_a_link_that_leads_out_of_the_folder_is_refused_and_one_within_it_is_not(folder: Path) -> None:
    (folder / "vocab.txt").symlink_to("config.json")
    refuse_code(folder)
    put(folder.parent / "secret", "canary")
    (folder / "merges.txt").symlink_to("../secret")
    with pytest.raises(UserError, match=r"^base_model: merges\.txt is a link that leads out of the folder"):
        refuse_code(folder)


def test_the_cache_of_the_hub_is_read_with_its_links_and_what_others_fetched(tmp_path: Path, folder: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    (snapshot / "modeling.py").touch()
    assert read_checkpoint(snapshot).parameters == 10
    (tmp_path / "blobs" / "ab").mkdir(parents=True)
    (blobs / "model.safetensors").rename(tmp_path / "blobs" / "ab" / "abcd")
    (blobs / "model.safetensors").symlink_to("../../blobs/ab/abcd")  # as what came through Xet
    assert read_checkpoint(snapshot).parameters == 10
    (snapshot / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"vocab\.txt is a link"):
        read_checkpoint(snapshot)


def test_what_names_code_or_another_machine_is_not_copied_at_any_depth(folder: Path, tmp_path: Path) -> None:
    code = {"auto_map": {"AutoTokenizer": ["x.Y", None]}, "custom_pipelines": {"p": {"impl": "x.Y"}}}
    places = {"_name_or_path": "/home/me", "vocab_file": "/home/me/vocab", "_attn_implementation": "them/kernel"}
    for name in base_model.CONFIGS:
        put(folder / name, CONFIG | code | places | {"text_config": {**code, "kept": 1}})
    put(folder / "vocab.json", {"auto_map": 7})
    for name in ("tokenizer_extra.py", "tokenizer.bin", "other.json", "adapter_config.json"):
        (folder / name).write_text("{}")
    copies = tmp_path / "copies"
    copies.mkdir()
    copy_text_files(folder, copies)
    assert {path.name for path in copies.iterdir()} == {*base_model.CONFIGS, "vocab.json"}
    for name in base_model.CONFIGS:
        assert json.loads((copies / name).read_text()) == CONFIG | {"text_config": {"kept": 1}}
    assert json.loads((copies / "vocab.json").read_text()) == {"auto_map": 7}  # a word of the vocabulary


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), r"config\.json is missing: give a folder in the Hugging Face layout"),
        (lambda f: (f / "config.json").write_text("[]"), r"config\.json is not a JSON object"),
        (lambda f: (f / "config.json").write_bytes(b"\xff"), r"config\.json is not UTF-8 text"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), r"config\.json is not JSON"),
        (lambda f: (f / "config.json").write_text("9" * 10_000), r"config\.json is not JSON"),
        (lambda f: (f / "config.json").write_text('{"a": "\\ud800"}'), r"config\.json is not JSON"),
        (
            lambda f: (f / "config.json").write_text('{\n"a": 1, // b\n}'),
            r"not JSON from line 2 on: it has no comments",
        ),
        (lambda f: (f / "config.json").write_text('{"a": 1\n# b\n}'), r"not JSON from line 2 on: it has no comments"),
        (lambda f: (f / "config.json").write_text('{"a": [1,\n]}'), r"not JSON from line 2 on: take out the comma"),
        (lambda f: (f / "config.json").write_text('{"a": 1}}'), r"not JSON from line 1 on: copy it again"),
        (lambda f: (f / "config.json").write_text(POINTER), r"config\.json is Git's pointer .* `git lfs pull`"),
        (lambda f: (f / "model.safetensors").write_text(POINTER), r"model\.safetensors is Git's pointer .*download it"),
        (lambda f: put(f / "config.json", {}), r"config\.json: model_type is missing"),
        (
            lambda f: put(f / "config.json", {"model_type": "a\nb"}),
            r"config\.json: model_type is missing or not a name",
        ),
        (
            lambda f: put(f / "config.json", CONFIG | {"quantization_config": {"load_in_4bit": True}}),
            r"config\.json: quantization_config: .* Take the model that they were made from",
        ),
        (
            lambda f: put(f / "config.json", CONFIG | {"quantization": {"group_size": 64, "bits": 4}}),
            r"config\.json: quantization_config: .* Take the model that they were made from",
        ),
        (lambda f: in_two_files(f, b="one.safetensors"), r"index\.json: b is not in one\.safetensors: copy the whole"),
        (lambda f: in_two_files(f, b="../out.safetensors"), r"index\.json: weight_map names no safetensors files of"),
        (lambda f: in_two_files(f, b="/etc/x.safetensors"), r"index\.json: weight_map names no safetensors files of"),
        (lambda f: in_two_files(f, b="pytorch_model.bin"), r"index\.json: weight_map names no safetensors files of"),
        (lambda f: in_two_files(f, b=["one.safetensors"]), r"index\.json: weight_map names no safetensors files of"),
        (lambda f: in_two_files(f, b="two.safetensors"), r"index\.json names two\.safetensors, which is missing"),
        (lambda f: put(f / base_model.INDEX, {"weight_map": {}}), r"index\.json: weight_map names no"),
        (lambda f: put(f / base_model.INDEX, {"weight_map": 7}), r"index\.json: weight_map names no"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}"), r"model\.safetensors is damaged"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-2]),
            r"model\.safetensors is damaged",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(folder: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=rf"^base_model: .*{message}"):
        read_checkpoint(folder)


def test_an_index_that_another_tool_wrote_has_what_transformers_asks_of_it(folder: Path) -> None:
    in_two_files(folder, b="model.safetensors")
    with as_listed(folder) as listed:
        index = json.loads((listed / base_model.INDEX).read_text())
        assert index["metadata"] == {}
        assert {(listed / name).resolve().parent for name in index["weight_map"].values()} == {folder.resolve()}


PROJ = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("dtype", "name", "shape"),
    [
        ("F8_E4M3", f"{PROJ}.weight", (4, 4)),
        ("I8", f"{PROJ}.weight", (4, 4)),
        ("I32", f"{PROJ}.qweight", (4, 4)),
        ("BF16", f"{PROJ}.weight_scale_inv", (1, 1)),
        ("BF16", f"{PROJ}.weight_scale", (4,)),
        ("BF16", f"{PROJ}.weight.absmax", (4,)),
        ("BF16", f"{PROJ}.scales", (4, 1)),
        ("BF16", "model.layers.0.mlp.experts.gate_up_proj_blocks", (2, 4)),
    ],
)
def test_codes_of_fewer_bits_are_known_by_their_form_and_what_lies_beside_them(
    folder: Path, dtype: str, name: str, shape: tuple[int, ...]
) -> None:
    tensors_of(folder / "model.safetensors", dtype, {name: shape})
    with pytest.raises(UserError, match=rf"^base_model: {name}: these weights are quantised already, .*Take the model"):
        read_checkpoint(folder)


def test_whole_numbers_that_are_no_weights_are_let_pass(folder: Path) -> None:
    tensors_of(folder / "model.safetensors", "I64", {"embeddings.position_ids": (1, 4), "layers.0.step.weight": (1,)})
    assert len(read_checkpoint(folder).shapes) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model.model.model.norm.weight", "the names that a program gave them"),
        ("module.model.norm.weight", "the names that a program gave them"),
        ("model._orig_mod.norm.weight", "the names that a program gave them"),
        ("model.layers.0._fsdp_wrapped_module.norm.weight", "the names that a program gave them"),
        (f"{PROJ}.lora_A.default.weight", "an adapter lies unmerged among its weights"),
        (f"{PROJ}.base_layer.weight", "an adapter lies unmerged among its weights"),
    ],
)
def test_a_model_that_was_saved_within_what_trained_it_is_refused_with_the_way_out(
    folder: Path, name: str, message: str
) -> None:
    tensors(folder / "model.safetensors", **{name: (4,)})
    with pytest.raises(UserError, match=rf"^base_model: {name}: .*{message}"):
        read_checkpoint(folder)


FITTING: dict[str, Any] = {
    **CONFIG, "num_hidden_layers": 2, "vocab_size": 8, "hidden_size": 4, "tie_word_embeddings": False,
}  # fmt: skip
WEIGHTS = {"model.embed_tokens.weight": (8, 4), "lm_head.weight": (8, 4), "model.layers.1.norm.weight": (4,)}


@pytest.mark.parametrize(
    ("config", "without", "message"),
    [
        ({}, None, None),
        ({"num_hidden_layers": 3}, None, "num_hidden_layers 3, and there are weights of 2 layers"),
        ({"num_hidden_layers": 1}, None, "num_hidden_layers 1, and there are weights of 2 layers"),
        ({"num_hidden_layers": 1, "num_nextn_predict_layers": 1}, None, None),
        ({"vocab_size": 9}, None, "vocab_size 9, and model.embed_tokens.weight is 8×4"),
        ({"hidden_size": 5}, None, "hidden_size 5, and model.embed_tokens.weight is 8×4"),
        ({"hidden_size": 5, "word_embed_proj_dim": 4}, None, None),
        ({}, "lm_head.weight", "tie_word_embeddings false, and there is no lm_head.weight"),
        ({"tie_word_embeddings": True}, "lm_head.weight", None),
        ({"text_config": {"num_hidden_layers": 2}}, "lm_head.weight", None),
        ({"num_hidden_layers": "two", "vocab_size": None}, None, None),
    ],
)
def test_weights_that_are_not_those_of_the_config_are_refused_before_they_are_loaded(
    folder: Path, config: dict[str, Any], without: str | None, message: str | None
) -> None:
    put(folder / "config.json", FITTING | config)
    tensors(folder / "model.safetensors", **{name: shape for name, shape in WEIGHTS.items() if name != without})
    with pytest.raises(UserError, match=message) if message else nullcontext():
        read_checkpoint(folder)


def test_weights_that_deepspeed_did_not_gather_are_named_as_such(folder: Path) -> None:
    tensors(folder / "model.safetensors", **{"model.embed_tokens.weight": (0,), "model.norm.weight": (4,)})
    with pytest.raises(UserError, match=r"model\.embed_tokens\.weight is empty, as DeepSpeed's ZeRO 3 leaves weights"):
        read_checkpoint(folder)


@pytest.mark.slow
def test_the_weights_of_models_as_transformers_makes_them_fit() -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    for kind in ("deepseek_v3", "gemma2", "gemma3", "gpt2", "gpt_oss", "llama", "mllama", "opt", "qwen3_moe"):
        config = CONFIG_MAPPING[kind]()
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        names = [name for name in shapes if not (tied and name == "lm_head.weight")]
        refuse_wrapped({name: shapes[name] for name in names})
        refuse_unfit(config.to_dict(), {name: shapes[name] for name in names})


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["checkpoint-90/config.json", "checkpoint-100/config.json", "README.md"], "like checkpoint-100: give the one"),
        (["adapter_config.json", "adapter_model.safetensors"], "this is an adapter. Give it as the input `adapter`"),
        (["gemma-Q4_K_M.gguf"], "gemma-Q4_K_M.gguf, a GGUF file, which is made for use, not for training"),
        (["consolidated.safetensors", "params.json"], "in Mistral's own layout: take config.json and model"),
        (["consolidated.00.pth", "params.json"], "in Meta's own layout: take config.json and model"),
        (["epoch_0/config.json", "epoch_1/config.json"], "it stands in folders like epoch_1: give the one"),
        (["snapshots/0f/config.json", "refs/main"], "it stands in folders like snapshots/0f: give the one"),
    ],
)
def test_a_folder_that_holds_something_else_says_what_to_give(tmp_path: Path, there: list[str], message: str) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"^base_model: config\.json is missing: .*{message}"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("checkpoint.safetensors", True),
        ("consolidated.safetensors", False),
        ("consolidated-00001-of-00002.safetensors", False),
        ("pytorch_model.bin", False),
    ],
)
def test_weights_that_are_there_twice_are_fetched_once(name: str, wanted: bool) -> None:
    assert is_wanted(name, base_model.MODEL_FILES) == wanted


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["consolidated.safetensors"], "in Mistral's own layout: take config.json and model"),
        (["pytorch_model_fsdp_0/__0_0.distcp", "optimizer.bin"], "pieces of FSDP. `accelerate merge-weights FOLDER"),
        (["global_step9/x_model_states.pt", "zero_to_fp32.py", "rng_state_0.pth"], "pieces of DeepSpeed. `python zero"),
        (["tf_model.h5"], "tf_model.h5, for another library: take a revision with model"),
        (["model-Q8_0.gguf", "imatrix.dat"], "model-Q8_0.gguf, a GGUF file, which is made for use"),
        (["training_args.bin", "pytorch_model.bin"], "only there as pytorch_model.bin, a format that can run code"),
        (["model-00001-of-00002.safetensors"], "model.safetensors.index.json is missing, which says what is in model-"),
        (["merged/model.safetensors", "README.md"], "the weights stand in folders like merged"),
        (["adapter_model.safetensors", "adapter_config.json"], "these are the weights of an adapter. Give it as `ad"),
        (["optimizer.pt", "scheduler.pt"], "no model.safetensors or model.safetensors.index.json: give a folder"),
    ],
)
def test_weights_that_are_kept_otherwise_are_named_with_the_way_out(
    folder: Path, there: list[str], message: str
) -> None:
    (folder / "model.safetensors").unlink()
    for name in there:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with pytest.raises(UserError, match=f"^base_model: .*{re.escape(message)}"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "model.safetensors is a file: give the folder that it lies in"),
        ("m.gguf", "m.gguf is a file: weights are only there as m.gguf, a GGUF file"),
        ("model.zip", "model.zip is a file: give a folder in the Hugging Face layout"),
    ],
)
def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(UserError, match=f"^base_model: {message}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("value", [0, -1, 1 << 31, True, "512", 5.5, [512], {}])
def test_a_context_that_is_no_number_is_named(tmp_path: Path, value: object) -> None:
    put(tmp_path / "config.json", {"max_position_embeddings": value})
    with pytest.raises(UserError, match=r"config\.json: max_position_embeddings: not a whole number above 0"):
        base_model.context_tokens(tmp_path)


@pytest.mark.parametrize(
    ("config", "context"), [({}, None), ({"text_config": 7}, None), ({"text_config": CONFIG}, 512), (CONFIG, 512)]
)
def test_the_context_may_stand_in_the_part_on_text(tmp_path: Path, config: object, context: int | None) -> None:
    assert base_model.context_tokens(tmp_path) is None
    put(tmp_path / "config.json", config)
    assert base_model.context_tokens(tmp_path) == context


def test_only_an_address_of_the_hub_has_a_name() -> None:
    assert hub_name("hf://google/gemma-2-9b-it@1") == "google/gemma-2-9b-it"
    assert [hub_name(uri) for uri in (None, "s3://a/b", "hf://a", "/a/b")] == [None] * 4


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["model_type", "max_position_embeddings", "text_config", "weight_map", "quantization_config"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["config.json", base_model.INDEX, "model.safetensors"]),
    content=st.binary(max_size=60)
    | st.dictionaries(KEYS, VALUES, max_size=4).map(lambda value: json.dumps(value).encode())
    | VALUES.map(lambda value: struct.pack("<Q", len(json.dumps(value))) + json.dumps(value).encode()),
)
def test_any_bytes_are_a_model_or_refused_by_file(folder: Path, name: str, content: bytes) -> None:
    kept = (folder / name).read_bytes() if (folder / name).exists() else None
    (folder / name).write_bytes(content)
    try:
        base_model.context_tokens(folder)
        read_checkpoint(folder)
    except UserError as refused:
        assert str(refused).startswith(f"base_model: {name}")
    finally:
        (folder / name).unlink() if kept is None else (folder / name).write_bytes(kept)


def test_only_listed_files_and_weights_are_offered_to_other_libraries(folder: Path) -> None:
    put(folder / "adapter_config.json", {"base_model_name_or_path": "them/other"})
    put(folder / "config.json", CONFIG | {"transformers_weights": "other.safetensors"})
    with as_listed(folder) as listed:
        assert {path.name for path in listed.iterdir()} == {"config.json", "model.safetensors"}
        assert json.loads((listed / "config.json").read_text()) == CONFIG
        assert (listed / "model.safetensors").resolve() == (folder / "model.safetensors").resolve()
    assert not listed.exists() and (folder / "model.safetensors").is_file()
