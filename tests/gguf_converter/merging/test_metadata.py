from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneline.model.base_model import Checkpoint
from tuneline.stage import InputRecord
from tuneline_gguf_converter.merging.metadata import Identity, identify, write_metadata
from tuneline_gguf_converter.stage import GgufConverterParams

HUB, LOCAL = "hf://google/gemma-2-9b-it@0123abcd", "file:///home/someone/secret/model"


def identity(uri: str, tuned: bool = True, params: GgufConverterParams | None = None) -> Identity:
    base = Checkpoint(Path("base"), (), {"w": (9_241_705, 1000)}, "gemma2")
    lineage = {"base_model": InputRecord(uri=uri, sha256="ab" * 32, size=1, count=1)}
    if tuned:
        lineage["slices"] = InputRecord(uri=None, sha256="cd" * 32, size=1, count=1, producer="slicer/1234")
    return identify(params or GgufConverterParams(finetune="therapy-coach", release=2), base, lineage, tuned)


@pytest.mark.parametrize(
    ("uri", "tuned", "name"),
    [
        (HUB, True, "gemma-2-9.2B-it-therapy-coach-v2-Q4_K_M.gguf"),
        (HUB, False, "gemma-2-9.2B-it-v2-Q4_K_M.gguf"),
        ("hf://org/plainname@1", True, "plainname-9.2B-therapy-coach-v2-Q4_K_M.gguf"),
        (LOCAL, True, "gemma2-9.2B-therapy-coach-v2-Q4_K_M.gguf"),
        (LOCAL, False, "gemma2-9.2B-v2-Q4_K_M.gguf"),
    ],
)
def test_files_are_named_by_the_convention(uri: str, tuned: bool, name: str) -> None:
    assert identity(uri, tuned).file_name("9.2B", "Q4_K_M") == name


@pytest.mark.parametrize(("file", "name"), [("tokenizer.model", "phi3"), ("tokenizer.json", "phi4")])
def test_phi_4_is_not_named_as_a_kind_whose_tokens_llama_cpp_would_look_for(
    tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / file).touch()
    base = Checkpoint(folder=tmp_path, files=(), shapes={}, model_type="phi3")
    lineage = {"base_model": InputRecord(uri=LOCAL, sha256="ab" * 32, size=1, count=1)}
    assert identify(GgufConverterParams(), base, lineage, False).base_name == name


def test_a_given_name_wins() -> None:
    named = identity(HUB, params=GgufConverterParams(name="Coach"))
    assert named.file_name("9.2B", "Q8_0") == "Coach-9.2B-it-tuned-v1-Q8_0.gguf"


def metadata(identity: Identity, folder: Path, readme: str | None = None) -> tuple[dict[str, object], str]:
    base, merged = folder / "base", folder / "merged"
    base.mkdir()
    merged.mkdir()
    if readme is not None:
        (base / "README.md").write_text(readme)
    write_metadata(merged, base, identity, folder / "metadata.json")
    return json.loads((folder / "metadata.json").read_text()), (merged / "README.md").read_text()


def test_a_base_model_of_the_hub_is_named_with_its_address(tmp_path: Path) -> None:
    values, _ = metadata(identity(HUB), tmp_path)
    assert values["general.name"] == "gemma-2 it-therapy-coach"
    assert values["general.base_models"] == [
        {
            "name": "gemma-2-9b-it",
            "organization": "google",
            "repo_url": "https://huggingface.co/google/gemma-2-9b-it",
            "description": f"sha256:{'ab' * 32}",
        }
    ]
    assert values["general.datasets"] == [{"name": "slices", "description": "slicer/1234"}]
    assert identity(HUB).base_model == HUB


def test_the_size_is_written_once_in_a_files_name() -> None:
    names = {"SmolLM2-135M": "135M", "smollm2-135m": "135M", "SmolLM2": "135M", "X-1135M": "135M"}
    made = [replaced(base_name=name).file_name(size, "Q8_0") for name, size in names.items()]
    expected = ["SmolLM2-135M", "smollm2-135M", "SmolLM2-135M", "X-1135M-135M"]
    assert made == [f"{name}-v1-Q8_0.gguf" for name in expected]


def replaced(base_name: str) -> Identity:
    return Identity(base_name, None, "v1", "sha256:0", {})


def test_a_private_address_is_not_written(tmp_path: Path) -> None:
    private = identity(LOCAL)
    values, _ = metadata(private, tmp_path)
    assert private.base_model == f"sha256:{'ab' * 32}"
    assert "secret" not in json.dumps(values) + repr(private)


def test_the_licence_and_nothing_else_comes_from_the_base_models_readme(tmp_path: Path) -> None:
    readme = "---\nlicense: gemma\nlicense_link: https://example.org/l\nmodel_name: Other\ntags: [x]\n---\n# Text\n"
    _, card = metadata(identity(HUB), tmp_path, readme)
    assert card == "---\nlicense: gemma\nlicense_link: https://example.org/l\n---\n"


@pytest.mark.parametrize(
    "readme",
    [
        None,
        "",
        "# Text",
        "---\nlicense: [\n---\n",
        "---\nnever closed",
        "---\n- a\n---\n",
        "---\n" + "[" * 9999 + "\n---\n",
    ],
)
def test_a_readme_without_a_licence_is_no_obstacle(readme: str | None, tmp_path: Path) -> None:
    assert metadata(identity(HUB), tmp_path, readme)[1] == ""
