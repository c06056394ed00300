"""A recipe: every problem with file, line and field; nothing that is filled in is looked through again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.generating import RECIPE
from kit.places import ROOT
from tuneline.errors import UserError
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.recipe import InstructionsRecipe, Step, load_recipe

EXAMPLE = ROOT / "examples" / "instructions.yaml"


def written(folder: Path, **changed: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changed}, sort_keys=False))
    return path


def test_the_example_is_a_recipe_and_its_defaults_are_the_prompts_of_base_models() -> None:
    recipe = load_recipe(EXAMPLE)
    assert isinstance(recipe, InstructionsRecipe)
    assert recipe.response.sampler.stop[0] == "\nInstruction" and recipe.instruction.temperature == 0.7


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "instruction"}, r"recipe.yaml:1: kind: unknown; did you mean `instructions`"),
        ({"examples": RECIPE["examples"][:3]}, r"recipe.yaml:\d+: examples: .*8"),  # type: ignore[index]
        ({"shots": 9}, r"recipe.yaml:\d+: shots: 9 of 8 examples; use fewer"),
        ({"response": {"prompt": "{shots}Response:"}}, r"response.prompt: needs \{instruction\}"),
        ({"instruction": {"prompt": "{shot} about {category}"}}, r"\{shot\} is not filled in here; did you mean"),
        ({"instruction": {"prompt": "{category}", "temprature": 1}}, r"instruction.temprature: unknown"),
        ({"labels": ["Q:"]}, r"recipe.yaml:\d+: labels.0: "),
        ({"categories": []}, r"recipe.yaml:\d+: categories: "),
        ({"response": {"prompt": "{instruction}", "temperature": 7}}, r"response.temperature: "),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(written(tmp_path, **changed))
    assert re.search(said, str(refused.value)), refused.value


def test_what_is_filled_in_is_never_looked_through_again() -> None:
    step = Step(prompt="{shots}{instruction} {other} {{x}}")
    assert step.filled(shots="{instruction}", instruction="{shots}!") == "{instruction}{shots}! {other} {{x}}"


def test_everything_random_about_an_item_follows_from_its_number() -> None:
    items = [Item(0, "train", number) for number in range(200)]
    assert len({item.seed("response") for item in items}) == 200
    assert all(0 <= item.seed("response") < 2**31 for item in items)
    assert Item(0, "train", 7).seed("shots") == Item(0, "train", 7).seed("shots") != Item(0, "test", 7).seed("shots")
    assert Item(0, "train", 0).seed("instruction") == 1756868200, "another seed would pay for everything anew"
    drawn = [tuple(item.some(3, 10)) for item in items]
    assert all(len({*places}) == 3 and max(places) < 10 for places in drawn) and len({*drawn}) > 100
    assert [item.of("abc") for item in items[:4]] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("word", ["yes", "12", "1.5"])
def test_a_word_that_yaml_reads_as_something_else_is_told_the_way_out(tmp_path: Path, word: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"kind: documents\ncategories: [{{name: law, about: {word}}}]\nforms: [memo, {word}]\n")
    with pytest.raises(UserError) as refused:
        load_recipe(file)
    for place in (":2: categories.0.about", ":3: forms.1"):
        assert f"recipe.yaml{place}: input should be a text: put it in quotes (got " in str(refused.value)
