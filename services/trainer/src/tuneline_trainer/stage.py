"""trainer: a LoRA or QLoRA fine-tune of the base model on the slices.

Every slice is rendered, tokenised and labelled by us before the model is loaded: one that is too long or teaches
nothing is refused, never cut. Training may be killed at any moment and goes on from its newest whole checkpoint; on the
same processor and number of threads it then ends with the same bytes as if nothing had happened, whatever the number of
processes was before and after. A GPU adds in no fixed order, so that there the last digits differ.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tuneline.model.base_model import MODEL_FILES
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
    folder_name,
    given,
    output_of,
    pace,
)
from tuneline_trainer.record.tracking import TrackerName

Count = Annotated[int, Field(ge=1, le=64)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class LoraParams(Params):
    """The size of the adapter and what it is attached to (see arXiv:2106.09685)."""

    rank: int = Field(default=64, ge=1, le=1024)
    """Width of the two low-rank matrices; higher learns more and costs memory and overfitting in proportion."""
    alpha: int = Field(default=128, ge=1)
    """The adapter's output is scaled by alpha / rank; twice the rank is proven, more acts like a higher rate."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the adapter's inputs that is zeroed while training; higher fights overfitting on few transcripts."""
    targets: Names | Literal["all-linear"] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that get an adapter; `all-linear` takes every one, for about 3 times the memory."""


class TrainerParams(Params):
    """How the adapter is trained."""

    epochs: float = Field(default=3.0, gt=0, le=1000)
    """Passes over the training slices; more fit closer, and the validation loss shows when it is too close."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Peak step size of AdamW; higher learns faster and diverges sooner."""
    batch_size: int = Field(default=1, ge=1)
    """Rows in one forward pass, of about one length; more is faster on a large GPU, for memory in proportion."""
    accumulation: int = Field(default=8, ge=1)
    """Times `batch_size` the slices of an optimiser step; more gives a steadier gradient and fewer steps."""
    batching: Literal["auto", "shared_prefix", "slices"] = "auto"
    """What a row is: all slices that begin alike, computed once for the same gradient (`shared_prefix`), or one slice;
    auto shares where that is exact."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises to its peak; more is safer at a high rate and wastes short runs."""
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up; `constant` does not fall and suits runs that will be extended."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Share of each weight that a step of rate 1 removes; a little fights overfitting, much stops learning."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Length to which a longer gradient is cut (0 is off); lower is steadier and slower."""
    max_length: int = Field(default=8192, ge=16)
    """Most tokens of a slice, capped at the model's context; longer slices are refused, and memory grows with it."""
    supervise: Literal["new", "all", "last"] = "new"
    """Which answers of a slice are learnt: `new` those since the transcript's slice before, so each once; `all` repeats
    early ones in every later slice; `last` wastes what was computed for the others."""
    lora: LoraParams = LoraParams()
    """The adapter."""
    quantization: Literal["auto", "none", "nf4"] = "auto"
    """4-bit base weights (`nf4`) take a quarter of the memory and cost a little precision; auto is nf4 on CUDA only."""
    dtype: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format; bf16 halves memory and time on a GPU, fp32 keeps every digit; auto is bf16 on CUDA only."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"] = "auto"
    """Kernel; auto is sdpa. Soft-capped scores (Gemma-2) take flash or flex on a GPU, eager on a CPU."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them: about a quarter more time for a fraction of the memory."""
    threads: int = Field(default=2, ge=1, le=1024)
    """CPU threads of the computation; sums are rounded differently on another number, so it is part of the result."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Start of every random choice (initial adapter, order, dropout); change it for an independent repetition."""
    keep: Literal["best", "last"] = "best"
    """Which adapter ships: that of the lowest validation loss, or the last one; without validation slices the last."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps between validations, beside those at the end of each epoch; more find a better best, for time."""
    patience: int | None = Field(default=None, ge=1)
    """Validations in a row without a lower loss after which training stops; the default is to train to the end."""
    shard_base: bool = False
    """Every process holds a part of the base model and gets the rest layer by layer: for a model that no GPU holds in 4
    bits; all of it is sent about twice for every forward pass."""
    processes: Count | Literal["auto"] = pace("auto")
    """GPUs, each with a process that holds the model and computes a part of every step, for the same result; auto takes
    those that are visible, but no more than a step has forward passes unless they share the model (`shard_base`)."""
    save_steps: int = pace(10, ge=1)
    """Optimiser steps between checkpoints; fewer lose less work to a kill and write more."""
    report_to: tuple[TrackerName, ...] = pace(())
    """Trackers that get figures while it trains: `tensorboard`, `trackio`, `wandb`, `mlflow`; where, variables say."""


class TrainerInputs(Inputs):
    """What is learnt, and by whom."""

    slices: Path = output_of("slicer")
    """Training examples, one per line."""
    base_model: Path = given(*MODEL_FILES)
    """Folder in the Hugging Face layout: config, safetensors weights, tokenizer with a chat template."""
    chat_template: Path | None = given(optional=True)
    """Chat template and its settings, in place of the base model's: a .jinja file, or `template`, `options`, `date`."""


class TrainerOutputs(Outputs):
    """What was learnt, and how."""

    adapter: Path = folder_name("adapter")
    """The adapter in PEFT's layout: adapter_model.safetensors and adapter_config.json."""
    metrics: Path = file_name("metrics.jsonl")
    """One row per step (step, epoch, loss, learning_rate, grad_norm) and per validation (step, validation_loss)."""
    training: Path = file_name("training.json")
    """Resolved settings, counts, losses and library versions."""


def run(params: TrainerParams, inputs: TrainerInputs, outputs: TrainerOutputs, context: Context) -> Metrics:
    """Fine-tune the base model on the slices."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on import it complains of a kernel that nobody needs
    from tuneline_trainer.imports import spared

    with spared(params.quantization):
        from tuneline_trainer.train import train_adapter

    return train_adapter(params, inputs, outputs, context)


def check(params: TrainerParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_trainer.check import check_given

    check_given(params, checks)


def plan(params: TrainerParams, plans: Plans) -> Iterable[Forecast]:
    """Say how long training takes."""
    from tuneline_trainer.plan import plan_training

    return plan_training(params, plans)


STAGE = Stage("trainer", 7, TrainerParams, TrainerInputs, TrainerOutputs, run, check=check, plan=plan)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
