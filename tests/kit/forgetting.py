"""A store with a run of assessor, slicer and a stage that learns from slices, to forget transcripts in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kit.chat_models import write_chat_model
from kit.judge_parts import RUBRIC
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import (
    AnyStage,
    Context,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    folder_name,
    installed_stages,
    output_of,
)
from tuneline.store.base import Store


class LearnerParams(Params):
    """Parameters of the learner."""

    quote: bool = False
    """Whether what it says repeats what it has read."""


class LearnerInputs(Inputs):
    """Inputs of the learner."""

    slices: Path = output_of("slicer")
    """Slices."""


class LearnerOutputs(Outputs):
    """Outputs of the learner."""

    adapter: Path = folder_name("adapter")
    """Weights."""
    said: Path = file_name("said.jsonl")
    """What it said."""


def learn(params: LearnerParams, inputs: LearnerInputs, outputs: LearnerOutputs, context: Context) -> Metrics:
    """Count slices, and keep what the first of them say in a journal."""
    rows = [json.loads(line) for line in inputs.slices.read_text().splitlines()]
    (outputs.adapter / "weights.safetensors").write_text(str(len(rows)))
    said = [row["messages"][-2]["content"] for row in rows] if params.quote else ["Good morning."]
    journal = context.journal("said", str(params.quote))
    for number, text in enumerate(said):
        journal.put(f"talk-{number}", {"text": text})
    outputs.said.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(said)))
    return Metrics(headline=f"learnt from {len(rows)} slices")


LEARNER = Stage("learner", 1, LearnerParams, LearnerInputs, LearnerOutputs, learn)


def canary(name: str) -> str:
    """Return the words that only the transcript of this name says."""
    return f"The secret word of {name} is kingfisher-{sum(map(ord, name)) * 7919}, and nobody else has ever said it."


def conversation(name: str) -> dict[str, Any]:
    """Return a transcript of four exchanges, each with the canary; zoe's has a greeting and an unlearnt answer."""
    exchange = {"user": f"{canary(name)} It is raining.", "assistant": "Please tell me more about that, would you?"}
    if name != "zoe":
        return {"id": name, "exchanges": [exchange] * 4}
    turn = [{"role": "user", "content": exchange["user"]}, {"role": "assistant", "content": exchange["assistant"]}]
    greeting = {
        "role": "assistant",
        "content": "Good morning. What can I do for you, and may I have your name, please?",
    }
    return {"id": name, "messages": [greeting, turn[0], turn[1] | {"weight": 0}, *turn, *turn, *turn]}


class Forgetting:
    """A folder with transcripts and a model, and the store that runs on them use."""

    def __init__(self, folder: Path, store: Store, names: tuple[str, ...] = ("ada", "bob", "eva", "zoe")) -> None:
        self.folder, self.store = folder, store
        self.base = write_chat_model(folder / "base", "gemma")
        self.transcripts = folder / "transcripts.jsonl"
        self.write(*names)

    def write(self, *names: str) -> None:
        self.transcripts.write_text("".join(json.dumps(conversation(name)) + "\n" for name in names))

    def run(self, run: str = "demo", *, replace: bool = False, **stages: Mapping[str, Any]) -> dict[str, bool]:
        """Run the three stages; return which results were there already."""
        inputs = {"transcripts": str(self.transcripts), "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
        content = {"run": run, "goal": "learner", "inputs": inputs | {"base_model": str(self.base)}}
        params = {"slicer": {"validation_fraction": 0, "min_context": 1}} | stages
        file = self.folder / f"{run}.yaml"
        file.write_text(yaml.safe_dump(content | params))
        known: dict[str, AnyStage] = {**installed_stages(), "learner": LEARNER}
        run_file = read_run_file(file, known)
        reused = {}
        for step in run_file.steps:
            with new_job(run_file, step, self.store, self.folder / "scratch", replace=replace) as job:
                reused[step.name] = run_job(job).reused
        return reused

    def manifest(self, stage: str, run: str = "demo") -> Manifest:
        manifest = pinned_manifest(self.store, run, stage)
        assert manifest is not None
        return manifest

    def rows(self, stage: str, port: str, run: str = "demo") -> list[dict[str, Any]]:
        [record] = self.manifest(stage, run).outputs[port].files.values()
        return [json.loads(line) for line in (self.store.get(record.key) or b"").splitlines()]

    def holding(self, words: str) -> Iterator[str]:
        """Yield the keys of files that contain `words`."""
        for entry in self.store.list(""):
            if words.encode() in (self.store.get(entry.key) or b""):
                yield entry.key
