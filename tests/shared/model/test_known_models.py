from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from kit.chat_models import write_chat_model
from kit.families import write_family
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.model.known_models import refuse_unconvertible, refuse_unknown_split, refuse_untrainable


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text", "llama", "qwen3", "phi3", "gpt_oss"])
def test_families_that_people_use_can_be_trained(model_type: str) -> None:
    refuse_untrainable(model_type)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["Gemma2ForCausalLM"]},
        {"architectures": ["Qwen3ForCausalLM"]},
        {"architectures": ["Unheard"], "text_config": {"architectures": ["LlamaForCausalLM"]}},
    ],
)
def test_what_the_converter_knows_passes(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    refuse_unconvertible(tmp_path)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"architectures": ["Unheard\u202e"]}, r"converter does not know Unheard\\u202e: choose"),
        ({"architectures": ["GptOssForCausalLM"]}, "gpt-oss otherwise than its chat template"),
        ({"architectures": []}, "architectures is missing"),
        ({"architectures": [7]}, "architectures is missing"),
        ({"text_config": 7}, "architectures is missing"),
    ],
)
def test_what_the_converter_does_not_know_is_named(tmp_path: Path, config: dict[str, object], problem: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=problem):
        refuse_unconvertible(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Llama 3.1", "Mistral Nemo"])
def test_tokenizers_of_bytes_that_people_use_split_text_as_the_converter_knows(tmp_path: Path, family: str) -> None:
    base = write_family(tmp_path / "base", family)
    refuse_unknown_split(base, ChatTokenizer.from_folder(base))


def test_a_tokenizer_of_bytes_that_the_converter_does_not_know_is_refused(tmp_path: Path) -> None:
    base = write_chat_model(tmp_path / "base", "chatml")
    with pytest.raises(UserError, match=r"no BPE tokenizer that splits text as this one.*`goal: trainer`"):
        refuse_unknown_split(base, ChatTokenizer.from_folder(base))


def test_how_text_is_split_matters_only_where_the_converter_goes_by_it(tmp_path: Path) -> None:
    pieces = write_chat_model(tmp_path / "pieces", "gemma")
    refuse_unknown_split(pieces, ChatTokenizer.from_folder(pieces))
    beside = write_chat_model(tmp_path / "beside", "chatml")
    (beside / "tokenizer.model").touch()
    refuse_unknown_split(beside, ChatTokenizer.from_folder(beside))


@pytest.mark.parametrize(
    ("architecture", "fits"),
    [
        ("Gemma2ForCausalLM", False),
        ("GemmaForCausalLM", False),
        ("Phi3ForCausalLM", False),
        ("Gemma3ForCausalLM", True),  # of it llama.cpp also reads tokenizer.json
        ("Gemma4ForCausalLM", True),
        ("LlamaForCausalLM", True),
        ("MistralForCausalLM", True),
    ],
)
def test_a_model_that_was_saved_without_its_pieces_is_refused_where_the_converter_has_nothing_else(
    tmp_path: Path, architecture: str, fits: bool
) -> None:
    base = write_chat_model(tmp_path / "base", "gemma")
    (base / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with (
        nullcontext() if fits else pytest.raises(UserError, match=r"tokenizer\.model is missing.*take it from the rep")
    ):
        refuse_unknown_split(base, ChatTokenizer.from_folder(base))
    (base / "tokenizer.model").touch()
    refuse_unknown_split(base, ChatTokenizer.from_folder(base))
