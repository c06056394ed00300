from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneline.errors import UserError
from tuneline.model.known_models import refuse_unconvertible, refuse_untrainable


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
