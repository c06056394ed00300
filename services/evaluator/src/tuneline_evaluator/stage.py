"""evaluator: is the fine-tuned model better than its base, as both ship?

Both arms are quantised GGUF files behind a real llama-server, or served elsewhere. Simulated personas talk to each of
them with the same seeds, or both answer the same prompts. A judge that does not know the arm applies the rubric, or
says which answer it prefers, and the differences per persona or prompt decide the verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from tuneline.data.serving import SamplerParams
from tuneline.model.base_model import TOKENIZER_FILES
from tuneline.stage import (
    Checks,
    Context,
    Forecast,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Plans,
    Stage,
    file_name,
    given,
    output_of,
    pace,
    page,
)

COMPLETION = "Instruction: {prompt}\nResponse:"
STOPS = ("\nInstruction", "\nQ:", "\n###", "\nUser:", "\nResponse:")
QUESTION = (
    "Which of the two serves the user better: by what is right, to the point, and said in a way that suits them? "
    "Length alone is no merit."
)


class EvaluatorParams(Params):
    """How the two arms are compared."""

    turns: int = Field(default=6, ge=1, le=200)
    """Exchanges per conversation, 1 with `prompts`; more show how a model holds up over time, and cost as much more."""
    trials: int = Field(default=1, ge=1, le=100)
    """Conversations per persona and arm; they steady a persona's mean, but only more personas add evidence. Where those
    of both arms exist already, all of them count."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Start of every random choice; change it for an independent repetition."""
    sampler: SamplerParams = SamplerParams()
    """How an answer is drawn."""
    format: Literal["chat", "completion"] = "chat"
    """How a prompt is put to both models: by their chat template, or as text that a base model goes on from."""
    prompt_template: str = Field(default=COMPLETION, max_length=100_000)
    """Text around each of the `prompts` with `format: completion`; {prompt} stands for it."""
    stop: tuple[str, ...] = Field(default=STOPS, max_length=16)
    """Where an answer ends with `format: completion`, besides the model's own end; base models seldom end by it."""
    preference: bool | None = None
    """Have the judge say which of the two it prefers, in both orders: two more calls for each pair. The default is yes
    with `prompts`, no with `personas`."""
    headline: Literal["score", "preference"] | None = None
    """What the verdict rests on; the default is the preference with `prompts` and a judge that is a model."""
    question: str = Field(default=QUESTION, min_length=1, max_length=2000)
    """What the judge is asked about two answers; another question is paid anew."""
    context_tokens: int | None = Field(default=None, ge=256)
    """Tokens one conversation may use; the default is what the model can take, at most 8,192: memory grows with it."""
    margin: float = Field(default=0.03, gt=0, lt=1)
    """Loss of score that "not worse" accepts, as a share; 0.03 takes 99 personas or more, 0.10 takes 29."""
    safety_margin: float = Field(default=0.10, gt=0, lt=1)
    """Loss on a gate criterion that is accepted, as a share of personas; 0.10 takes 29 personas without a failure."""
    significance: float = Field(default=0.05, ge=0.001, le=0.2)
    """Chance of a false alarm that every test accepts; intervals have the confidence 1 − significance."""
    max_unparsed: float = Field(default=0.1, ge=0, le=1)
    """Share of conversations that may stay without a readable judgement; more hides a judge that does not work."""
    grade_simulator: bool = False
    """Have the judge say, too, whether the simulated user stayed in its role: one more call for each conversation. Code
    looks always; where it left the role with one model, the conversations of all are left out."""
    exact: bool = False
    """Hold one conversation at a time per server: a repetition then gives the same bytes, and takes `slots` times as
    long. Conversations that share a batch move each other's last digits, and so at times a word."""
    allow_unequal: bool = False
    """Compare arms that differ in more than their weights; the report then says so beside the verdict."""
    interleave: bool = pace(True)
    """Serve both arms at once, which halves the waiting; false needs the memory of one model only."""
    slots: int = pace(4, ge=1, le=64)
    """Conversations that each server holds at once; each one takes a context's worth of memory."""
    threads: int | None = pace(None, ge=1)
    """CPU threads per server; the default shares the processor's cores between the servers that run at once."""
    evaluate: tuple[str, ...] = Field(default=(), max_length=12)
    """Further types of the fine-tuned model that are compared, such as Q8_0; the converter must make them."""
    gpu_layers: int | None = Field(default=None, ge=0)
    """Layers that a GPU computes, 0 is none; the default is all, where llama-server is built for a GPU that is here."""
    judge_concurrency: int = pace(8, ge=1, le=2048)
    """Most judge calls in flight; the pace is found by itself, so more costs memory only (0.1 MB each)."""
    canaries: int = pace(0, ge=0, le=100)
    """Transcripts that a model judged before and is asked about once more at each start (paid); 0 trusts it."""
    canary_noise: float = pace(0.1, ge=0, le=1)
    """Share of their answers that may have changed; a judge that differs more from itself stops the run."""
    judge_timeout_s: float = pace(120.0, gt=0)
    """Seconds after which one judge call is given up and tried again."""
    answer_timeout_s: float = pace(600.0, gt=0)
    """Seconds after which one answer of a model or a simulated user is given up; slow CPUs need more."""


class EvaluatorInputs(Inputs):
    """The two arms, what judges them, and what earlier stages left for the report."""

    model: Path = output_of("gguf-converter")
    """The fine-tuned model: a folder with a .gguf file, an endpoint (`provider: openai`, …), or its conversations."""
    base: Path = output_of("gguf-converter@base", "model")
    """The same of the base, from the same converter."""
    arms: Path | None = given(optional=True)
    """Further models to compare: endpoints by name, or a folder with a .gguf, .yaml or .jsonl file for each."""
    model_info: Path | None = output_of("gguf-converter", "gguf", optional=True)
    """Facts about the fine-tuned file."""
    base_info: Path | None = output_of("gguf-converter@base", "gguf", optional=True)
    """Facts about the base file."""
    modelfile: Path | None = output_of("gguf-converter", optional=True)
    """Makes the fine-tuned file a model of Ollama; without it there is no chat template in the Modelfile."""
    base_model: Path | None = given(*TOKENIZER_FILES, optional=True)
    """Tokenizer and chat template, as the slicer read them; needed unless both arms are served elsewhere."""
    chat_template: Path | None = given(optional=True)
    """Chat template and its settings, in place of the base model's: a .jinja file, or `template`, `options`, `date`."""
    rubric: Path = given()
    """The assessor's rubric."""
    personas: Path | None = given(optional=True)
    """Simulated users who talk to both models; or else `prompts`."""
    prompts: Path | None = given(optional=True)
    """Single prompts in place of personas: .jsonl with `id`, `prompt`, optional `category`, `reference`."""
    judge: Path = given()
    """The assessor's judge, or `provider: recorded` where `model_answers` and `base_answers` are given."""
    model_answers: Path | None = given(optional=True)
    """Answers to the rubric about the fine-tuned model's conversations, where those exist already and were judged."""
    base_answers: Path | None = given(optional=True)
    """The same about the base's."""
    simulator: Path | None = given(optional=True)
    """Who speaks for the personas; without it their scripts do, offline."""
    system_prompt: Path | None = given(optional=True, text=True)
    """System prompt for both arms, as in training."""
    assessed: Path | None = output_of("assessor", "verdicts", optional=True)
    """Verdicts on the transcripts, for the report."""
    assessed_by: Path | None = output_of("assessor", "judges", optional=True)
    """Who chose the training set, for the report."""
    slices: Path | None = output_of("slicer", optional=True)
    """What was learnt: a prompt that occurs in it is left out, and a persona whose script was mostly taken from it."""
    slices_stats: Path | None = output_of("slicer", "stats", optional=True)
    """Figures of the training set, for the report."""
    training: Path | None = output_of("trainer", "training", optional=True)
    """Settings and counts of the training, for the report."""
    training_metrics: Path | None = output_of("trainer", "metrics", optional=True)
    """Loss by step, for the report."""


class EvaluatorOutputs(Outputs):
    """What was said, how it was judged, and what follows from it."""

    conversations: Path = file_name("conversations.jsonl")
    """One conversation per line: persona, trial, arm, seed, status, messages, token counts."""
    verdicts: Path = file_name("verdicts.jsonl")
    """One verdict per line, with the arm and the conversation it belongs to."""
    preferences: Path = file_name("preferences.jsonl")
    """What the judge prefers, one pair per line with both orders; empty where nobody asked."""
    comparison: Path = file_name("comparison.json")
    """Every figure of the report."""
    report: Path = page("report.html")
    """The report: one static page."""
    view: Path = page("conversations.html")
    """Every conversation with what the judge said about it, one page beside the report, to filter and to read."""
    summary: Path = file_name("summary.md")
    """The report in short, for a pull request or a terminal."""
    modelfile: Path = file_name("Modelfile")
    """The converter's, with system prompt, sampler and context of the comparison."""
    serving: Path = file_name("serving.json")
    """The same settings for `tuneline serve`."""


def run(params: EvaluatorParams, inputs: EvaluatorInputs, outputs: EvaluatorOutputs, context: Context) -> Metrics:
    """Compare the fine-tuned model with its base."""
    from tuneline_evaluator.evaluate import evaluate

    return evaluate(params, inputs, outputs, context)


def check(params: EvaluatorParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_evaluator.check import check_given

    check_given(params, checks)


def plan(params: EvaluatorParams, plans: Plans) -> Iterable[Forecast]:
    """Say what calls to models will take."""
    from tuneline_evaluator.plan import plan_talks

    return plan_talks(params, plans)


STAGE = Stage("evaluator", 14, EvaluatorParams, EvaluatorInputs, EvaluatorOutputs, run, check=check, plan=plan)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
