"""Persona files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
