"""The example run files are accepted, and gemma-2-9b.yaml is a complete manual whose values are what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from kit.places import EXAMPLES
from tuneline.engine.pipelines import Address, Inline
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.judge.judging import load_judge
from tuneline.judge.simulators.simulator import load_simulator
from tuneline.llm.config import OpenAiConfig
from tuneline.stage import installed_stages

MANUAL = EXAMPLES / "gemma-2-9b.yaml"


def fields(stage: str, params: BaseModel) -> Iterator[tuple[str, str, bool]]:
    """Yield section, name and whether the value is the default's, of every parameter at any depth."""
    for name, field in type(params).model_fields.items():
        value = dict(params)[name]
        if isinstance(value, BaseModel):
            yield from fields(f"{stage}.{name}", value)
        else:
            yield stage, name, value == field.get_default(call_default_factory=True)


def section(stage: str) -> str:
    """Return the lines of a stage in the manual."""
    text = MANUAL.read_text()
    found = re.search(rf"^{stage.split('.', maxsplit=1)[0]}:\n((?:[ #].*\n)*)", text, re.MULTILINE)
    assert found, stage
    return found[1]


def manual() -> RunFile:
    return read_run_file(MANUAL, installed_stages())


@pytest.mark.parametrize("name", ["demo.yaml", "gemma-2-9b.yaml"])
def test_every_key_of_the_run_file_is_known_and_the_chain_is_complete(name: str) -> None:
    nodes = [node.name for node in read_run_file(EXAMPLES / name, installed_stages()).steps]
    assert sorted(nodes) == [
        "assessor", "evaluator", "gguf-converter", "gguf-converter@base", "slicer", "trainer",
    ]  # fmt: skip


def test_what_a_model_writes_goes_past_the_assessor_to_the_comparison() -> None:
    written = read_run_file(EXAMPLES / "synthesize.yaml", installed_stages())
    names = [step.name for step in written.steps]
    assert names[:3] == ["gguf-converter@base", "generator@pilot", "generator"] and names[-1] == "evaluator"
    assert "assessor" not in names and set(names[3:-1]) == {"slicer", "trainer", "gguf-converter"}
    refused = read_run_file(EXAMPLES / "critic.yaml", installed_stages())
    assert [step.name for step in refused.steps] == names[:3], "the critic is tested on the same rows"
    assert refused.params["generator"] == written.params["generator"]


@pytest.mark.parametrize("name", ["demo.yaml", "gemma-2-9b.yaml"])
def test_every_file_that_the_run_file_names_is_there(name: str) -> None:
    inputs = read_run_file(EXAMPLES / name, installed_stages()).inputs
    paths = [v.uri for k, v in inputs.items() if isinstance(v, Address) and k != "base_model"]
    assert len(paths) == 3
    assert [p for p in paths if not Path(p).exists()] == []


def test_the_manual_explains_every_parameter_of_every_stage() -> None:
    missing = [
        f"{stage}.{name}"
        for key, params in manual().params.items()
        for stage, name, _ in fields(key, params)
        if not re.search(rf"^ +(# )?{name}: .*  # \S", section(stage), re.MULTILINE)
    ]
    assert missing == []


def test_the_manual_says_default_beside_every_value_that_is_not_one() -> None:
    silent = [
        f"{stage}.{name}"
        for key, params in manual().params.items()
        for stage, name, is_default in fields(key, params)
        if not is_default and not re.search(rf"^ +{name}: .*# .*\(default", section(stage), re.MULTILINE)
    ]
    assert silent == []


def test_judge_and_simulator_of_the_manual_are_accepted_and_complete(tmp_path: Path) -> None:
    judge, simulator = (value for value in manual().inputs.values() if isinstance(value, Inline))
    (tmp_path / "judge.json").write_text(json.dumps(judge.content))
    (tmp_path / "simulator.json").write_text(json.dumps(simulator.content))
    assert "judge-model" in load_judge(tmp_path / "judge.json", lambda name: f"the value of {name}").label
    assert isinstance(load_simulator(tmp_path / "simulator.json"), OpenAiConfig)
    assert isinstance(judge.content, dict) and set(judge.content) == set(OpenAiConfig.model_fields)
