"""The JSON Schemas of the files that people write take the examples and refuse what is misspelt, as in an editor."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kit.places import EXAMPLES, ROOT
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import installed_stages

SCHEMAS = ROOT / "shared" / "src" / "tuneline" / "data" / "schemas"
NAMED = re.compile(r"# yaml-language-server: \$schema=(.*)")


def problems(name: str, content: object) -> list[str]:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(content)]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_names_its_schema_and_fits_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    named = NAMED.fullmatch(first)
    assert named, f"{path.name}: begin it with a line that names its schema"
    schema = (path.parent / named[1]).resolve()
    assert schema.parent == SCHEMAS
    assert problems(schema.stem, read_yaml(path).content) == []


CONTENT: dict[str, tuple[object, ...]] = {
    "judge": (
        {"provider": "heuristic"}, {"provider": "openai", "model": "m", "base_url": "https://judge.example.com/v1"},
        {"provider": "anthropic", "model": "m"}, {"provider": "google", "model": "m"},
        {"judges": {"a": {"provider": "openai", "model": "m"}, "b": {"provider": "google", "model": "n"}}},
    ),
    "simulator": ({"provider": "openai", "model": "m"}, {"provider": "scripted"}),
    "answers": ([{"id": "a", "answers": {"C1": "YES"}}], {"id": "a", "answers": {"C1": "NA"}, "reasons": {}}),
    "transcript": ({"id": "a", "exchanges": [{"user": "u", "assistant": "a", "learn": False}], "greeting": "Hello"},),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENT)
def test_what_can_be_read_fits_the_schema(name: str) -> None:
    assert [problems(name, content) for content in CONTENT[name]] == [[]] * len(CONTENT[name])


WRONG: list[tuple[str, Any]] = [
    ("run", {"trainer": {"epoch": 3}}),
    ("run", {"inputs": {"transcript": "x"}}),
    ("run", {"goal": "slcer"}),
    ("run", {"inputs": {"system_prompt": {"text": "You are Ada."}}}),
    ("run", {"inputs": {"prompt": ["You are Ada."]}}),
    ("rubric", {"name": "x", "treshold": 1}),
    ("personas", {"personas": []}),
    ("judge", {"provider": "openai", "model": "m", "temprature": 0}),
    ("judge", {"provider": "opnai"}),
    ("answers", [{"id": "a", "answers": {"C1": "MAYBE"}}]),
    ("transcript", {"id": "a", "exchanges": [{"user": "u"}]}),
]


@pytest.mark.parametrize(("name", "content"), WRONG)
def test_what_is_misspelt_does_not(name: str, content: object) -> None:
    assert problems(name, content)


def test_inputs_whose_content_a_run_file_cannot_hold_are_those_that_its_reader_refuses() -> None:
    ports = {port.name: port for stage in installed_stages().values() for port in stage.input_ports()}
    of_text = {name for name, port in ports.items() if port.text}
    assert of_text >= {"system_prompt", "prompt", "script_prompt"}
    assert {name for name in ports if problems("run", {"inputs": {name: {"a": 1}}})} == of_text
    assert not [name for name in ports if problems("run", {"inputs": {name: "a/path"}})]


def test_the_schemas_are_those_of_the_models() -> None:
    command = [sys.executable, str(ROOT / "tools" / "schemas.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
