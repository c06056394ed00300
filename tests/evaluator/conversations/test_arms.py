"""The fairness guard: arms that differ in more than their weights are refused, and every difference is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kit.chat_models import write_chat_model
from kit.evaluator_parts import write_info
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.stage import InputRecord, Maker
from tuneline_evaluator.conversations.arms import (
    Model,
    as_made,
    model_context,
    read_model,
    refuse_other_template,
    refuse_unequal,
    unequal_facts,
)


def arm(folder: Path, *, server: str = "0.5.0", context_tokens: int = 2048, **changed: object) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.gguf").write_bytes(b"GGUF" * 4)
    info = write_info(folder / "gguf.json", "model.gguf", **changed)
    return read_model(folder.name, folder, info, "00" * 32, server=server, context_tokens=context_tokens)


def test_arms_that_differ_in_nothing_but_their_weights_are_equal(tmp_path: Path) -> None:
    base, finetuned = arm(tmp_path / "base"), arm(tmp_path / "finetuned", name="Tuned", metadata={"general.name": "T"})
    assert unequal_facts(base.facts, finetuned.facts) == []
    refuse_unequal([], allow_unequal=False)
    assert base.facts.bytes == 16


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("architecture", "llama"),
        ("parameters", 9_241_705_984),
        ("file_type", "Q4_K_M"),
        ("template_sha256", "00" * 32),
        ("tokenizer_sha256", "00" * 32),
        ("converter", "00" * 32),
        ("llama_cpp", "0.6.0"),
        ("base_model", "another"),
        ("server", "0.6.0"),
        ("context_tokens", 4096),
    ],
)
def test_any_other_difference_is_refused_by_name_and_passes_when_allowed(
    tmp_path: Path, field: str, value: object
) -> None:
    base, finetuned = arm(tmp_path / "base"), arm(tmp_path / "finetuned", **{field: value})  # type: ignore[arg-type]
    unequal = unequal_facts(base.facts, finetuned.facts)
    assert len(unequal) == 1
    with pytest.raises(UserError, match=rf"{field}: .* \(base\) and {value} \(finetuned\).*allow_unequal"):
        refuse_unequal(unequal, allow_unequal=False)
    refuse_unequal(unequal, allow_unequal=True)


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    base, finetuned = arm(tmp_path / "base"), arm(tmp_path / "finetuned", file_type="Q8_0", converter="00" * 32)
    with pytest.raises(UserError, match=r"file_type: .*converter: "):
        refuse_unequal(unequal_facts(base.facts, finetuned.facts), allow_unequal=False)


def test_a_file_that_the_converter_made_of_an_adapter_is_known_as_a_fine_tune(tmp_path: Path) -> None:
    said = {"general.base_model.0.name": "Tiny", "general.base_model.0.organization": "org"}
    plain = arm(tmp_path / "plain", metadata=said)
    tuned = arm(tmp_path / "tuned", metadata={**said, "general.dataset.0.name": "slices"})
    assert (plain.facts.tuned_from, tuned.facts.tuned_from) == (None, "org/Tiny")


@pytest.mark.parametrize("inputs", [["base_model"], ["base_model", "adapter"]])
def test_an_arm_whose_making_is_recorded_is_a_fine_tune_if_an_adapter_went_into_it(
    tmp_path: Path, inputs: list[str]
) -> None:
    one = InputRecord(uri="hf://org/Tiny", sha256="00" * 32, size=1, count=1, producer=None)
    maker = Maker(
        stage="gguf-converter", version=1, fingerprint="00" * 32, manifest_sha256="00" * 32, params={},
        inputs=dict.fromkeys(inputs, one), headline="", counts={}, commit=None, finished_at="", forgotten=0,
    )  # fmt: skip
    facts = as_made(arm(tmp_path / "base").facts, maker)
    assert facts.tuned_from == ("hf://org/Tiny" if "adapter" in inputs else None)
    assert as_made(facts, None) == facts


@pytest.mark.parametrize("file", ["absent.gguf", "../model.gguf", "/etc/hostname"])
def test_a_file_outside_the_model_folder_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    folder = tmp_path / "folder"
    folder.mkdir()
    info = write_info(folder / "gguf.json", file)
    with pytest.raises(UserError, match=r"names a file that its model folder does not hold|file: string pattern"):
        read_model("base", folder, info, "00" * 32, server="0.5.0", context_tokens=2048)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"file": 3}'])
def test_an_unreadable_gguf_json_is_a_request_that_is_wrong(tmp_path: Path, content: str) -> None:
    info = tmp_path / "gguf.json"
    info.write_text(content)
    with pytest.raises(UserError, match=r"base arm: gguf\.json: "):
        read_model("base", tmp_path, info, "00" * 32, server="0.5.0", context_tokens=2048)


def test_a_base_model_with_another_template_is_refused(tmp_path: Path) -> None:
    tokenizer = ChatTokenizer.from_folder(write_chat_model(tmp_path / "hf", "gemma"))
    same = arm(tmp_path / "same", template_sha256=tokenizer.template_sha256)
    refuse_other_template(same.facts, tokenizer, allow_unequal=False)
    other = arm(tmp_path / "other")
    with pytest.raises(UserError, match="another chat template"):
        refuse_other_template(other.facts, tokenizer, allow_unequal=False)
    refuse_other_template(other.facts, tokenizer, allow_unequal=True)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"max_position_embeddings": 131_072}, 8192),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
    ],
)
def test_the_default_context_is_the_models_own_and_at_most_8192(tmp_path: Path, config: object, tokens: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_context(tmp_path) == tokens


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "Set `context_tokens`"),
        ("{", r"base_model: config\.json is not JSON"),
        ("[]", r"base_model: config\.json is not a JSON object"),
        ("{}", "Set `context_tokens`"),
    ],
)
def test_a_model_that_does_not_say_its_context_needs_the_parameter(
    tmp_path: Path, config: str | None, problem: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=problem):
        model_context(tmp_path)
