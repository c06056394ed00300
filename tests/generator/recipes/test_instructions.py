"""Instructions from a model that is talked with: examples are earlier turns, and nothing is a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.generating import RECIPE, WORDS, make, output_of, rows_of, write_run
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.commands.plan import plan_of
from tuneline.engine.runfile import read_run_file
from tuneline.errors import UserError
from tuneline.stage import installed_stages
from tuneline.store.base import open_store
from tuneline_generator.writing.recipe import InstructionsRecipe, load_recipe

CHAT: dict[str, Any] = {**RECIPE, "format": "chat"}
EXAMPLES: Any = RECIPE["examples"]


def talks(call: Call) -> Answer:
    """Asks and answers in the manner of the turns before."""
    *before, last = call.body["messages"]
    seed = int(call.body.get("seed", 0))
    words = " ".join(WORDS[(seed >> 3 * place) % len(WORDS)] for place in range(8))
    asked = str(last["content"]).startswith("Write one short")
    assert len(before) == 4 and [turn["role"] for turn in before] == ["user", "assistant"] * 2
    return completion(f"Describe the {words}." if asked else f"It is {words}.")


def run_file(folder: Path, url: str, recipe: dict[str, Any], **params: Any) -> Path:
    inputs = {"recipe": recipe, "writer": {"provider": "openai", "model": "m", "base_url": url}}
    return write_run(folder, inputs, **{"count": 30, "pilot": 20, "concurrency": 4} | params)


def test_a_model_that_is_talked_with_sees_examples_as_turns_and_is_asked_without_labels(tmp_path: Path) -> None:
    with serve_openai(talks) as server:
        file, store = run_file(tmp_path, server.url, CHAT), tmp_path / "store"
        assert not plan_of(read_run_file(file, installed_stages()), open_store(str(store))).findings.warnings
        pilot = make(file, store, pilot=True)
        whole = make(file, store)
    assert pilot and "all gates passed" in pilot.metrics.headline
    assert whole and len(rows_of(store, whole, "transcripts")) == 30
    said = "\n".join(json.dumps(call.body["messages"]) for call in server.calls)
    assert "Instruction:" not in said and "Response:" not in said and "{" not in said.replace('{"', "")
    pairs = [[turn["content"] for turn in call.body["messages"]] for call in server.calls]
    answered = [one for one in pairs if one[-1].startswith("Describe")]
    shown = {(one["instruction"], one["response"]) for one in EXAMPLES}
    assert answered and all({(one[0], one[1]), (one[2], one[3])} <= shown for one in answered)
    recipe = json.loads(output_of(store, whole, "quality"))["constant"]["recipe"]
    assert recipe["response"]["prompt"] == "{instruction}"


def test_examples_stand_in_the_prompt_where_it_has_a_place_for_them(tmp_path: Path) -> None:
    asks = {"prompt": "{shots}\nOne more, about {category}?", "max_tokens": 40}

    def one_message(call: Call) -> Answer:
        first = call.body["messages"][0]["content"]
        if first.startswith("Instruction: "):
            assert len(call.body["messages"]) == 1
            return completion(f"Describe number {call.body.get('seed')} of them all.")
        return completion(f"It is {call.body.get('seed')}.")

    with serve_openai(one_message) as server:
        assert make(run_file(tmp_path, server.url, {**CHAT, "instruction": asks}), tmp_path / "store", pilot=True)


def test_a_label_that_comes_back_all_the_same_is_seen(tmp_path: Path) -> None:
    def labels(call: Call) -> Answer:
        said = json.loads(talks(call).body)["choices"][0]["message"]["content"]
        return completion(f"**Instruction (about it):** {said}" if said.startswith("Describe") else said)

    with serve_openai(labels) as server:
        file, store = run_file(tmp_path, server.url, CHAT), tmp_path / "store"
        make(file, store, pilot=True)
        with pytest.raises(UserError, match="leakage: 20, wanted at most 0"):
            make(file, store)


def test_each_format_has_prompts_of_its_own_and_keeps_those_that_are_given(tmp_path: Path) -> None:
    found = {}
    for name, changed in (("text", {}), ("chat", CHAT), ("own", {**CHAT, "response": {"prompt": "So: {instruction}"}})):
        (tmp_path / name).write_text(yaml.safe_dump({**RECIPE, **changed}))
        recipe = load_recipe(tmp_path / name)
        assert isinstance(recipe, InstructionsRecipe)
        found[name] = (recipe.instruction.prompt[:5], recipe.response.prompt, recipe.response.repetition_penalty)
    assert found["text"][0] == "Below" and found["text"][2] == 1.1
    assert found["chat"] == ("Write", "{instruction}", 1.0) and found["own"][:2] == ("Write", "So: {instruction}")
