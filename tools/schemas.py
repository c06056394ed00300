"""Writes a JSON Schema of each file that people write, for editors; with --check, says whether all are up to date.

They are made from the models that read the files, and lie in the library, so that they come with every installation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from tuneline.data.judged import JudgedTranscript
from tuneline.data.personas import Personas
from tuneline.data.reading.prompts import Prompt
from tuneline.data.rubric import Rubric
from tuneline.data.text.rules import Answer
from tuneline.data.verdicts import Status
from tuneline.engine.pipelines import PIPELINES, steps_of
from tuneline.judge.judging import CONFIGS
from tuneline.judge.simulators.simulator import CONFIGS as SIMULATORS
from tuneline.stage import AnyStage, InputPort, installed_stages
from tuneline.stage.policy import Gate
from tuneline_generator.writing.recipe import Recipe

FOLDER = Path(__file__).parent.parent / "shared" / "src" / "tuneline" / "data" / "schemas"

Schema = dict[str, Any]


class RecordedAnswer(BaseModel):
    """Recorded answers to one transcript, in the plainest of the shapes that are read."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """Id of the transcript."""
    answers: dict[str, Answer]
    """YES, NO or NA by criterion."""
    reasons: dict[str, str] = {}
    """Why, by criterion."""
    status: Status = "scored"


def schemas() -> dict[str, Schema]:
    """Return every schema by the name of what it describes."""
    return {
        "run": run_file(installed_stages()),
        "rubric": of(Rubric, "A rubric"),
        "personas": of(Personas, "A file of personas"),
        "prompt": of(Prompt, "One prompt, a line of JSON Lines") | {"required": ["prompt"]},
        "recipe": of(Recipe, "A recipe of the generator"),
        "judge": judges(),
        "simulator": one_of(SIMULATORS, "Who plays the personas"),
        "answers": of(RecordedAnswer | list[RecordedAnswer], "Recorded answers: a list, or one line of JSON Lines"),
        "transcript": of(JudgedTranscript, "One transcript, in one of the shapes that are read"),
    }


def of(model: Any, title: str) -> Schema:
    """Return the schema of a model, as it is read."""
    schema = TypeAdapter(model).json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **plain(schema), "title": title}


def plain(value: Any) -> Any:
    """Leave out what editors cannot use: patterns with classes of characters that JavaScript has under other names."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not (k == "pattern" and isinstance(v, str) and r"\p{" in v)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def one_of(configs: Mapping[str, Any], title: str) -> Schema:
    """Return the schema of a configuration that its `provider` tells apart."""
    kinds = list(dict.fromkeys(configs.values()))
    union = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return of(union, title)


def judges() -> Schema:
    """Return the schema of one judge, or of several by name."""
    schema = one_of(CONFIGS, "A judge, or several by name under `judges`")
    kinds = schema.pop("anyOf")
    named = {"type": "object", "additionalProperties": {"anyOf": kinds}, "minProperties": 2}
    several = {"type": "object", "properties": {"judges": named}, "required": ["judges"], "additionalProperties": False}
    return schema | {"anyOf": [*kinds, several]}


def run_file(stages: Mapping[str, AnyStage]) -> Schema:
    """Return the schema of a run file: name, goal, inputs and the parameters of every stage."""
    ports = {port.name: port for stage in stages.values() for port in stage.input_ports()}
    definitions: Schema = {}
    properties: Schema = {
        "run": {"type": "string", "description": "The run's name; the file's, if it is left out."},
        "goal": {"enum": [*PIPELINES, *steps_of(stages)], "description": "The step to stop after."},
        "max_usd": {"type": ["number", "null"], "minimum": 0, "description": "US dollars that the run may spend."},
        "store": {"type": ["string", "null"], "description": "Where results live: a folder, or s3://bucket/prefix."},
        "gate": {"anyOf": [plain(Gate.model_json_schema()), {"type": "null"}]},
        "inputs": {
            "type": "object", "additionalProperties": False,
            "properties": {name: given(port) for name, port in sorted(ports.items())},
            "description": "An address, or the content itself, by name.",
        },
    }  # fmt: skip
    for name, stage in stages.items():
        schema = plain(stage.params.model_json_schema())
        definitions |= schema.pop("$defs", {})
        properties[name] = {"anyOf": [schema, {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A run file", "type": "object",
        "properties": properties, "additionalProperties": False, "$defs": definitions,
    }  # fmt: skip


def given(port: InputPort) -> Schema:
    """Return the schema of what a run file gives for an input: an address, or the content where that is no text."""
    inline = [] if port.text else ["object", "array"]
    return {"type": ["string", *inline, "null"], "description": port.description}


def main() -> int:
    """Write the files, or compare them."""
    texts = {FOLDER / f"{name}.json": json.dumps(schema, indent=1) + "\n" for name, schema in schemas().items()}
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        for path, text in texts.items():
            path.write_text(text)
        return 0
    there = {path: path.read_text() for path in FOLDER.glob("*.json")}
    if wrong := sorted(path.name for path in texts.keys() | there.keys() if texts.get(path) != there.get(path)):
        print(f"{', '.join(wrong)} in {FOLDER.name}/: not up to date: run `make format`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
