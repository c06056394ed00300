"""What decides a stage's results, written down in golden.json: `python tests/contract/golden.py --write`.

A fingerprint names a result by the stage's version, parameters and inputs. It is only true if the same version makes
the same result, so whatever changes here (a default, a pinned tool, the bytes of a toy output) asks for a new version.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from kit.places import ROOT
from kit.slicing import Bench, talk
from kit.support import Done, run_stage
from tuneline.engine.identity import fingerprint, is_pace
from tuneline.stage import AnyStage, installed_stages

PLACE = Path(__file__).with_name("golden.json")

TOOLS = {
    "assessor": [],
    "slicer": ["jinja2", "tiktoken", "tokenizers"],
    "trainer": ["bitsandbytes", "peft", "tokenizers", "torch", "transformers", "trl"],
    "gguf-converter": ["gguf", "torch", "transformers"],
    "evaluator": ["scipy", "tokenizers"],
}
"""Packages whose next version may make other results."""

RUBRIC = {
    "name": "Toy",
    "pass_threshold": 0.5,
    "categories": [
        {"id": "all", "weight": 1, "criteria": [
            {"id": "A", "question": "?", "yes": "y", "no": "n", "heuristic": {"rule": "answers_avoid", "any": ["hat"]}},
            {"id": "B", "question": "?", "yes": "y", "no": "n", "heuristic": {"rule": "echoes_user", "min_share": 0.5}},
        ]}
    ],
}  # fmt: skip

LLAMA_CPP = ("gguf-converter", "evaluator")
"""Stages that run llama.cpp's programs."""


def golden() -> dict[str, dict[str, Any]]:
    """Return what decides the results of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        toys = toy_outputs(Path(folder))
    return {name: facts(stage) | {"toy_outputs": toys.get(name, {})} for name, stage in installed_stages().items()}


def facts(stage: AnyStage) -> dict[str, Any]:
    """Return version, defaults and pins of a stage, and the fingerprint of its defaults."""
    params = stage.params()
    kept = {k: v for k, v in params.model_dump(mode="json").items() if not is_pace(stage.params, k)}
    inputs = {port.name: "0" * 64 for port in stage.input_ports()}
    identity = fingerprint(stage.name, stage.version, params, inputs)
    return {"version": stage.version, "defaults": kept, "tools": pins(stage.name), "fingerprint": identity}


def pins(stage: str) -> dict[str, str]:
    """Return the pinned versions of a stage's tools."""
    text = (ROOT / "requirements" / f"{stage}.txt").read_text()
    found = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE))
    pinned = {name: found[name] for name in TOOLS.get(stage, [])}
    if stage in LLAMA_CPP:
        pinned["llama.cpp"] = (ROOT / "requirements" / "llama-cpp.txt").read_text().split()[0]
    return pinned


def toy_outputs(folder: Path) -> dict[str, dict[str, str]]:
    """Return the hashes of what assessor and slicer make of a few conversations about nothing.

    Trainer, gguf-converter and evaluator compute with floating point, whose last digits depend on the processor: their
    own tests compare two runs on one machine.
    """
    stages, bench = installed_stages(), Bench(folder)
    bench.write(*(talk(f"toy-{n}", n) for n in range(4, 16)))
    given = {"transcripts": bench.inputs["judged"], "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    assessed = run_stage(stages["assessor"], folder / "assessor", inputs=given)
    inputs = bench.inputs | {"judged": assessed["transcripts"], "verdicts": assessed["verdicts"]}
    sliced = run_stage(stages["slicer"], folder / "slicer", inputs=inputs, params={"validation_fraction": 0.2})
    return {"assessor": hashes(assessed), "slicer": hashes(sliced)}


def hashes(done: Done) -> dict[str, str]:
    """Return the hash of each output."""
    return {name: output.sha256 for name, output in done.manifest.outputs.items()}


if __name__ == "__main__" and "--write" in sys.argv:
    PLACE.write_text(json.dumps(golden(), indent=1, sort_keys=True) + "\n")
