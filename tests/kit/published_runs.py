"""A finished run in a store, made in a second: real verdicts and slices, and what stands in for a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import yaml

from kit.comparisons import comparison, material
from kit.forgetting import Forgetting
from kit.judge_parts import RUBRIC
from tuneline.data.io import read_record, write_record
from tuneline.data.model_facts import ModelFacts
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
    page,
)
from tuneline.store.base import Store
from tuneline_evaluator.report.page import summary_text

FILE = "Toy-1M-v1-Q8_0.gguf"
LICENCE = "apache-2.0"
REPORT = (
    '<!doctype html><a href="#evidence">Evidence</a><main><a href="conversations.html#p-ada&quot;">Ada</a> '
    '<svg><a href="conversations.html"><title>Ada</title></a></svg></main>'
)


class _Made(Params):
    """Parameters of all three stages."""

    seed: int = 0
    """Makes other files."""


class TrainerInputs(Inputs):
    """Inputs."""

    slices: Path = output_of("slicer")
    """Slices."""


class TrainerOutputs(Outputs):
    """Outputs."""

    adapter: Path = folder_name("adapter")
    """Adapter."""
    training: Path = file_name("training.json")
    """Facts."""


def train(params: _Made, inputs: TrainerInputs, outputs: TrainerOutputs, context: Context) -> Metrics:
    config = {"base_model_name_or_path": "base_model@sha256:0123", "peft_type": "LORA"}
    (outputs.adapter / "adapter_config.json").write_text(json.dumps(config))
    (outputs.adapter / "adapter_model.safetensors").write_bytes(b"weights %d" % params.seed * 500)
    training = material(context.state).training
    assert training
    outputs.training.write_bytes(training.read_bytes())
    return Metrics(headline="trained")


class ConverterInputs(Inputs):
    """Inputs."""

    adapter: Path = output_of("trainer")
    """Adapter."""


class ConverterOutputs(Outputs):
    """Outputs."""

    model: Path = folder_name("model")
    """Files."""
    gguf: Path = file_name("gguf.json")
    """Facts."""
    modelfile: Path = file_name("Modelfile")
    """For Ollama."""


def convert(params: _Made, inputs: ConverterInputs, outputs: ConverterOutputs, context: Context) -> Metrics:
    writer = gguf.GGUFWriter(outputs.model / FILE, "llama")
    writer.add_string("tuneline.fingerprint", context.fingerprint)
    writer.add_tensor("weights", np.full((64, 64), params.seed, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    facts = read_record(material(context.state).model_info or context.state, ModelFacts)
    said = {"general.license": LICENCE}
    write_record(outputs.gguf, facts.model_copy(update={"file": FILE, "sizes": {FILE: 1}, "metadata": said}))
    outputs.modelfile.write_text(f"# beside the folder\nFROM ./model/{FILE}\nPARAMETER num_ctx 8192\n")
    return Metrics(headline="converted")


class EvaluatorInputs(Inputs):
    """Inputs."""

    model: Path = output_of("gguf-converter")
    """Files."""


class EvaluatorOutputs(Outputs):
    """Outputs."""

    comparison: Path = file_name("comparison.json")
    """Figures."""
    report: Path = page("report.html")
    """Report."""
    view: Path = page("conversations.html")
    """Every conversation."""
    summary: Path = file_name("summary.md")
    """In short."""
    modelfile: Path = file_name("Modelfile")
    """For Ollama, as compared."""


def evaluate(params: _Made, inputs: EvaluatorInputs, outputs: EvaluatorOutputs, context: Context) -> Metrics:
    found = comparison()
    write_record(outputs.comparison, found)
    outputs.report.write_text(REPORT)
    outputs.view.write_text('<!doctype html><p id="p-ada">The judge said <a href="report.html">no</a>.')
    outputs.summary.write_text(summary_text(found), encoding="utf-8")
    outputs.modelfile.write_text(
        f'# as compared\nFROM ./model/{FILE}\nPARAMETER temperature 0.5\nSYSTEM """Be kind."""\n'
    )
    return Metrics(headline=found.headline)


TOYS: dict[str, AnyStage] = {
    "trainer": Stage("trainer", 1, _Made, TrainerInputs, TrainerOutputs, train),
    "gguf-converter": Stage("gguf-converter", 1, _Made, ConverterInputs, ConverterOutputs, convert),
    "evaluator": Stage("evaluator", 1, _Made, EvaluatorInputs, EvaluatorOutputs, evaluate),
}


def make_run(folder: Path, store: Store, goal: str = "evaluator", *, replace: bool = False, **params: Any) -> None:
    """Make the run `demo` up to `goal`; `params` are those of stages, `-` as `_`."""
    known = installed_stages()
    stages = {name: known[name] for name in ("assessor", "slicer")} | TOYS
    base = Forgetting(folder, store).base
    inputs = {"transcripts": str(folder / "transcripts.jsonl"), "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    content = {"run": "demo", "goal": goal, "inputs": inputs | {"base_model": str(base)}}
    content["slicer"] = {"validation_fraction": 0.4, "min_context": 1}
    file = folder / "demo.yaml"
    file.write_text(yaml.safe_dump(content | {name.replace("_", "-"): value for name, value in params.items()}))
    run_file = read_run_file(file, stages)
    for step in run_file.steps:
        with new_job(run_file, step, store, folder / "scratch", replace=replace) as job:
            run_job(job)
