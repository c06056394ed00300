"""slicer: training examples from the transcripts that passed.

A slice is a transcript up to one of its slice points, so that a model learns from early and late turns alike. Its
length is counted with the tokenizer and chat template of the model that will be trained; what is too long loses its
oldest exchanges, never its last answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tuneline.model.base_model import TOKENIZER_FILES
from tuneline.stage import Checks, Context, Inputs, Metrics, Outputs, Params, Stage, file_name, given, output_of, pace


class SlicerParams(Params):
    """Where transcripts are cut, and how long a slice may be."""

    min_context: int = Field(default=3, ge=1)
    """Exchanges before the first slice point, and the fewest that a shortened slice keeps; more leaves fewer slices."""
    min_gap: int = Field(default=2, ge=1)
    """Fewest exchanges between two slice points; smaller gives more slices, which repeat more of each other."""
    max_gap: int = Field(default=5, ge=1)
    """Most exchanges between two slice points; larger gives fewer slices, so training is cheaper and sees less."""
    max_tokens: int | None = Field(default=None, ge=16)
    """Most tokens of a slice, as the model counts; longer sees more context for more memory (default: its context)."""
    window: Literal["slide", "tile"] = "slide"
    """Which exchanges a slice over `max_tokens` drops: `slide` as few as it must, so that answers see the most; `tile`
    all but `min_context` at once, so that slices begin alike and the trainer computes them together, for less context
    at each window's start."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the transcripts held out to watch the training; more measures better and teaches less (0: none)."""
    duplicate_similarity: float = Field(default=0.8, gt=0, le=1)
    """Share of common word sequences (Jaccard) that makes two transcripts near-duplicates; lower groups more."""
    workers: int = pace(4, ge=1, le=64)
    """Threads that encode at once; more is faster up to the number of cores."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_gap > self.max_gap:
            raise ValueError(f"`min_gap`={self.min_gap} is more than `max_gap`={self.max_gap}")
        return self


class SlicerInputs(Inputs):
    """What is sliced, and for which model."""

    base_model: Path = given(*TOKENIZER_FILES)
    """Tokenizer, chat template and configuration of the model that will be trained."""
    chat_template: Path | None = given(optional=True)
    """Chat template and its settings, in place of the base model's: a .jinja file, or `template`, `options`, `date`."""
    system_prompt: Path | None = given(optional=True, text=True)
    """Text file: the system prompt of every slice, in place of a transcript's own."""
    judged: Path = output_of("assessor", "transcripts")
    """The transcripts as they were judged."""
    verdicts: Path = output_of("assessor")
    """Which transcripts passed."""


class SlicerOutputs(Outputs):
    """The training examples, and what became of the transcripts."""

    slices: Path = file_name("slices.jsonl")
    """One slice per line: messages, transcript, slice point, split, token counts and token ids."""
    stats: Path = file_name("slices.stats.json")
    """Counts from transcripts to slices, token totals, truncations, near-duplicates, lost personas."""
    rejected: Path = file_name("rejected.jsonl")
    """Transcripts and slice points that gave no slice, with the reason."""


def run(params: SlicerParams, inputs: SlicerInputs, outputs: SlicerOutputs, context: Context) -> Metrics:
    """Cut the passing transcripts into slices."""
    from tuneline_slicer.slice import slice_transcripts

    return slice_transcripts(params, inputs, outputs, context)


def check(params: SlicerParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_slicer.check import check_given

    check_given(params, checks)


STAGE = Stage("slicer", 10, SlicerParams, SlicerInputs, SlicerOutputs, run, check=check)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
