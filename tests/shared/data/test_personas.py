"""Persona files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from kit.evaluator_parts import persona_row
from kit.places import EXAMPLES
from tuneline.data.personas import Persona, load_personas
from tuneline.errors import UserError


def write(folder: Path, content: object) -> Path:
    path = folder / "personas.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_example_personas_are_good_and_enough_for_a_verdict() -> None:
    assert len(load_personas(EXAMPLES / "personas.yaml")) >= 6


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": "a/b"}, "personas.1.id: "),
        ({"traits": []}, "personas.1.traits: "),
        ({"trajectory": None}, "personas.1.trajectory: is required"),
        ({"topic_seeds": [{"category": "c", "subtopic": "s"}]}, "personas.1.topic_seeds.0.complexity: is required"),
        ({"scripts": ["Hello."]}, "personas.1.scripts: unknown key; did you mean `script`?"),
        ({"script": [""]}, "personas.1.script.0: "),
        ({"id": "person-00"}, "personas.1.id: another persona has the id `person-00`"),
    ],
)
def test_a_bad_persona_is_named_by_file_line_and_field(
    tmp_path: Path, changed: dict[str, object], problem: str
) -> None:
    path = write(tmp_path, {"personas": [persona_row(0), persona_row(1, **changed)]})
    with pytest.raises(UserError) as caught:
        load_personas(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


@pytest.mark.parametrize("content", ["", "- id: a", "personas: []", "personas: {}", "person: []"])
def test_a_file_without_a_list_of_personas_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"personas\.yaml"):
        load_personas(write(tmp_path, content))


def test_a_changed_word_makes_another_persona_and_a_reordered_file_does_not() -> None:
    one = Persona.model_validate(persona_row(1))
    assert one.sha256 == Persona.model_validate(dict(reversed(persona_row(1).items()))).sha256
    assert one.sha256 != Persona.model_validate(persona_row(1, trajectory="Volatile.")).sha256


def variants(row: dict[str, object]) -> dict[str, object]:
    one = {key: value for key, value in row.items() if key != "id"}
    foreign = {"age_range": "age", "traits": "personality_traits", "communication_style": "communicationStyle"}
    return {
        "beside other keys": {"created_at": "2026-01-03", "count": 1, "personas": [row]},
        "a list alone": [row],
        "by id under personas": {"personas": {row["id"]: one}},
        "by id alone": {row["id"]: one},
        "other names": {"personas": [{foreign.get(key, key): value for key, value in row.items()}]},
        "keys of its own": {"personas": [{**row, "writing_style": "casual", "flaw_patterns": [{"name": "x"}]}]},
    }


@pytest.mark.parametrize("form", variants(persona_row(0)))
@pytest.mark.parametrize("write_as", [yaml.safe_dump, json.dumps])
def test_personas_of_usual_forms_are_the_same_personas(
    tmp_path: Path, form: str, write_as: Callable[[object], str]
) -> None:
    row = persona_row(0)
    assert load_personas(write(tmp_path, write_as(variants(row)[form]))) == [Persona.model_validate(row)]


@pytest.mark.parametrize(("age", "read"), [(36, "36"), ([36, 45], "36-45"), ({"min": 36, "max": 45}, "36-45")])
def test_an_age_may_be_a_number_or_a_range(tmp_path: Path, age: object, read: str) -> None:
    [persona] = load_personas(write(tmp_path, {"personas": [persona_row(0, age_range=age)]}))
    assert persona.age_range == read


def test_traits_may_be_one_text(tmp_path: Path) -> None:
    [persona] = load_personas(write(tmp_path, {"personas": [persona_row(0, traits="careful, friendly; brief")]}))
    assert persona.traits == ("careful", "friendly", "brief")


def test_a_mistake_keeps_its_line_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "personas.yaml"
    path.write_text("kim:\n  name: Kim\n  age: 36\n  personality_traits: []\n  trajectry: open\n")
    with pytest.raises(UserError) as refused:
        load_personas(path)
    assert f"{path}:4: personas.0.traits: " in str(refused.value)
    assert f"{path}:5: personas.0.trajectry: unknown key; did you mean `trajectory`?" in str(refused.value)


def test_keys_that_are_passed_over_are_named_in_the_log(tmp_path: Path) -> None:
    with capture_logs() as logs:
        load_personas(write(tmp_path, {"count": 1, "personas": [{**persona_row(0), "writing_style": "casual"}]}))
    assert [entry["keys"] for entry in logs] == ["count, writing_style"]
