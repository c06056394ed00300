"""Evaluated runs in a store, made in a moment: converters and an evaluator that stand in for the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from kit.comparisons import comparison
from tuneline.commands.results.rows import ArmVerdict
from tuneline.data.conversations import Conversation, Said
from tuneline.data.io import write_lines, write_record
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import (
    AnyStage,
    Context,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    Usage,
    file_name,
    folder_name,
    given,
    output_of,
    without,
)
from tuneline.store.base import Store

CRITERIA = ("LI1", "GU1", "SA1")


class ConverterParams(Params):
    """None."""


class ConverterInputs(Inputs):
    """Inputs."""

    adapter: Path | None = given()
    """Adapter; the variant `base` has none."""
    base_model: Path = given()
    """Base."""


class ConverterOutputs(Outputs):
    """Outputs."""

    model: Path = folder_name("model")
    """File."""


def convert(params: ConverterParams, inputs: ConverterInputs, outputs: ConverterOutputs, context: Context) -> Metrics:
    given_ones = (path for path in (inputs.base_model, inputs.adapter) if path)
    (outputs.model / "m.gguf").write_bytes(b"".join(path.read_bytes() for path in given_ones))
    return Metrics(headline="converted")


class EvaluatorParams(Params):
    """What comes out."""

    personas: int = 12
    """How many."""
    fails: dict[str, list[int]] = Field(default_factory=dict)
    """Personas with which the fine-tuned model fails a criterion."""
    refused: int = 0
    """Conversations of the fine-tuned model that the judge refused."""
    outcome: str = "better"
    """Verdict."""
    significance: float = 0.05
    """Level."""
    margin: float = 0.3
    """Margin."""


class EvaluatorInputs(Inputs):
    """Inputs."""

    model: Path = output_of("gguf-converter")
    """Fine-tune."""
    base: Path = output_of("gguf-converter@base", "model")
    """Base."""
    rubric: Path = given()
    """Rubric."""
    judge: Path = given()
    """Judge."""
    personas: Path | None = given(optional=True)
    """Personas."""
    prompts: Path | None = given(optional=True)
    """Prompts."""


class EvaluatorOutputs(Outputs):
    """Outputs."""

    conversations: Path = file_name("conversations.jsonl")
    """Talks."""
    verdicts: Path = file_name("verdicts.jsonl")
    """Verdicts."""
    comparison: Path = file_name("comparison.json")
    """Figures."""


def evaluate(params: EvaluatorParams, inputs: EvaluatorInputs, outputs: EvaluatorOutputs, context: Context) -> Metrics:
    slots = [(arm, place) for arm in ("base", "finetuned") for place in range(params.personas)]
    write_lines(outputs.conversations, [_conversation(*slot) for slot in slots])
    fails = {"base": {"GU1": [0, 1]}, "finetuned": params.fails}
    write_lines(outputs.verdicts, [_verdict(arm, place, fails[arm]) for arm, place in slots])
    write_record(
        outputs.comparison, comparison(12, refused=params.refused).model_copy(update={"outcome": params.outcome})
    )
    return Metrics(headline=f"{params.outcome}: made up", counts={"verdict": params.outcome})


def _conversation(arm: str, place: int) -> Conversation:
    said = [Said(role="user", content="Is the tray empty?"), Said(role="assistant", content="It is full.")]
    return Conversation(
        id=f"p{place}/0/{arm}", persona=f"p{place}", trial=0, arm=arm, seed=0, status="complete", messages=said,
        answers=[], judged_id=f"{arm}{place}",
    )  # fmt: skip


def _verdict(arm: str, place: int, fails: Mapping[str, list[int]]) -> ArmVerdict:
    answers: dict[str, Any] = {name: "NO" if place in fails.get(name, []) else "YES" for name in CRITERIA}
    met = sum(answer == "YES" for answer in answers.values()) / len(CRITERIA)
    return ArmVerdict(
        conversation=f"p{place}/0/{arm}", arm=arm, persona=f"p{place}", trial=0, id=f"{arm}{place}", sha256="0" * 64,
        status="scored", answers=answers, reasons={}, category_scores={}, score=met, passed=met == 1,
        failed_gates=[], judge="rules", usage=Usage(),
    )  # fmt: skip


STAGES: dict[str, AnyStage] = {
    "gguf-converter": Stage(
        "gguf-converter", 1, ConverterParams, ConverterInputs, ConverterOutputs, convert,
        variants={"base": without("adapter")},
    ),
    "evaluator": Stage("evaluator", 1, EvaluatorParams, EvaluatorInputs, EvaluatorOutputs, evaluate),
}  # fmt: skip


def make_run(
    folder: Path, store: Store, run: str, *, adapter: str = "one", inputs: Mapping[str, Any] | None = None,
    gate: Mapping[str, Any] | None = None, **params: Any,
) -> RunFile:  # fmt: skip
    """Make an evaluated run: `params` are the evaluator's, `inputs` replace the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("base", "weights"), (f"adapter-{adapter}", adapter)):
        (folder / name).write_text(text)
    usual = {
        "adapter": f"adapter-{adapter}", "base_model": "base", "rubric": {"name": "R"}, "judge": {"provider": "x"},
        "personas": {"p": 1},
    }  # fmt: skip
    given_ones = {name: value for name, value in {**usual, **(inputs or {})}.items() if value is not None}
    content = {"run": run, "inputs": given_ones, "evaluator": params, "goal": "evaluator"}
    file = folder / f"{run}.yaml"
    file.write_text(yaml.safe_dump(content | ({"gate": dict(gate)} if gate else {})))
    run_file = read_run_file(file, STAGES)
    for step in run_file.steps:
        with new_job(run_file, step, store) as job:
            run_job(job)
    return run_file
