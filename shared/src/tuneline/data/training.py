"""What the trainer leaves behind about a training run: `training.json`, and a row of `metrics.jsonl`.

Without times and host, so that equal results have equal files.
"""

from __future__ import annotations

from typing import Literal

from tuneline.data.io import Closed
from tuneline.stage import Json


class TrainingSetup(Closed):
    """What every `auto` was settled to. Two attempts with different ones must not share a checkpoint."""

    device: Literal["cpu", "cuda"]
    dtype: Literal["bf16", "fp32"]
    quantization: Literal["none", "nf4"]
    attention: Literal["eager", "sdpa", "flash_attention_2", "flex_attention"]
    max_length: int
    threads: int
    libraries: dict[str, str]


class ExampleCounts(Closed):
    """The size of one side of the split, for one pass over it."""

    slices: int
    rows: int
    """What goes through the model at once: a slice, or all slices that begin alike."""
    tokens: int
    """Those of the rows, so what is computed."""
    supervised_tokens: int
    """Those that are learnt, as often as they are."""


class ExamplesBySplit(Closed):
    """Both sides of the split."""

    train: ExampleCounts
    validation: ExampleCounts


class ParameterCounts(Closed):
    """Numbers of parameters."""

    trained: int
    base: int


class Losses(Closed):
    """First and last of each kind, and the lowest of validation, in nats per token."""

    train_first: float
    train_last: float
    validation_before: float | None
    """The base model's."""
    validation_after: float | None
    validation_best: float | None
    """The lowest of all but the base model's."""


class TrainingRecord(Closed):
    """training.json: what was asked for, what it was settled to, and how much was done."""

    params: dict[str, Json]
    setup: TrainingSetup
    examples: ExamplesBySplit
    batching: Literal["shared_prefix", "slices"]
    batching_reason: str
    answers_found_by: str
    """How the chat template's answers are told apart: by its generation blocks, by generation prompts, or only the
    last answer of each slice."""
    learnt_per_third: tuple[float, float, float]
    """How often an answer of the first, second and last third of a transcript is learnt in one pass, on average."""
    steps: int
    """Optimiser steps that were done."""
    kept_step: int
    """The step whose adapter ships: that of the lowest validation loss, or the last."""
    tokens_seen: int
    """Tokens that went through the model in training, all passes, without padding."""
    parameters: ParameterCounts
    losses: Losses

    @property
    def shipped_loss(self) -> float | None:
        """The validation loss of the adapter that ships."""
        return self.losses.validation_best if self.kept_step < self.steps else self.losses.validation_after


class TrainingRow(Closed):
    """A row of metrics.jsonl: an optimiser step, or (with `step` and `validation_loss` alone) a validation.

    `loss` is the mean over the step's supervised tokens, `validation_loss` the mean over the validation slices of each
    one's mean; both in nats per token.
    """

    step: int
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    validation_loss: float | None = None
