"""Everything that is read, settled and found good before the model is loaded."""

from __future__ import annotations

import math
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline.stage import Context
from tuneline_trainer.examples.rows import Examples, Plan, read_examples, refuse_token
from tuneline_trainer.model.attention import attention_of, this_machine
from tuneline_trainer.model.base_model import (
    Architecture,
    BaseModelFacts,
    load_tokenizer,
    read_base_model,
)
from tuneline_trainer.model.memory import Estimate, capacity, estimate, require_memory
from tuneline_trainer.record.tracking import require_place, require_tracker
from tuneline_trainer.stage import TrainerInputs, TrainerParams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = structlog.get_logger()

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")


class Prepared(NamedTuple):
    """What is trained, on what and how; `memory` is the least that the largest step takes of each process."""

    params: TrainerParams
    setup: TrainingSetup
    base: BaseModelFacts
    base_sha256: str
    tokenizer: PreTrainedTokenizerBase
    examples: Examples
    memory: Estimate
    processes: int

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.params, self.examples)

    @property
    def steps(self) -> int:
        return math.ceil(self.params.epochs * self.steps_per_epoch)


def steps_per_epoch(params: TrainerParams, examples: Examples) -> int:
    """Return the optimiser steps of a pass: as many as slices would take, so that batching changes no schedule."""
    slices_per_step = params.batch_size * params.accumulation
    return min(math.ceil(examples.train_slices / slices_per_step), len(examples.train))


def prepare(params: TrainerParams, inputs: TrainerInputs, context: Context) -> Prepared:
    """Read and check every input. Raises UserError for what cannot work, too little memory included."""
    for tracker in params.report_to:
        require_tracker(tracker)
        require_place(tracker, context)
    base = read_base_model(inputs.base_model)
    setup = settle(params, base.architecture)
    chat = ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    plan = Plan(params.supervise, params.batching, setup.max_length, params.batch_size * params.accumulation)
    examples = read_examples(inputs.slices, chat, plan)
    log.info("slices become rows", batching=examples.batching, reason=examples.batching_reason)
    passes = math.ceil(len(examples.train) / (steps_per_epoch(params, examples) * params.batch_size))
    processes = processes_of(params.processes, setup.device, None if params.shard_base else passes)
    refuse_shards(params, processes)
    log.info("settings resolved", **told(params, setup, base.architecture, examples.batching, processes))
    _refuse_other_vocabulary(examples, base.architecture.vocab_size)
    rows, shards = min(params.batch_size, len(examples.train)), processes if params.shard_base else 1
    memory = estimate(params, setup, base, examples.longest, rows, shards)
    require_memory(memory, capacity(setup, processes), setup, examples.longest)
    sha256, tokenizer = context.lineage["base_model"].sha256, load_tokenizer(inputs.base_model)
    return Prepared(params, setup, base, sha256, tokenizer, examples, memory, processes)


def settle(params: TrainerParams, architecture: Architecture) -> TrainingSetup:
    """Resolve every `auto`. Raises UserError for a choice that this machine or this model cannot do."""
    device = _device()
    dtype = _dtype(params, device)
    return TrainingSetup(
        device=device,
        dtype=dtype,
        quantization=quantization_of(params, device),
        attention=attention_of(params.attention, this_machine(device, dtype), capped=architecture.capped),
        max_length=min(params.max_length, architecture.max_position_embeddings),
        threads=params.threads,
        libraries={name: version(name) for name in LIBRARIES if find_spec(name)},
    )


def told(
    params: TrainerParams, setup: TrainingSetup, model: Architecture, batching: str, processes: int
) -> dict[str, str]:
    """Return, for each setting that may be left open, what was asked for and what it is; and what the model imposes."""
    pairs = {
        "dtype": (params.dtype, setup.dtype),
        "quantization": (params.quantization, setup.quantization),
        "attention": (params.attention, setup.attention),
        "batching": (params.batching, batching),
        "max_length": (str(params.max_length), str(setup.max_length)),
        "processes": (str(params.processes), str(processes)),
    }
    lines = {name: found if found == asked else f"{found} (asked: {asked})" for name, (asked, found) in pairs.items()}
    inherited = f"context of {model.max_position_embeddings} tokens" + (", soft-capped scores" if model.capped else "")
    return lines | {"inherited": inherited, "loss": "head in chunks of tokens"}


def _refuse_other_vocabulary(examples: Examples, rows: int) -> None:
    """Raise UserError if the tokenizer makes a token that the model has no row for, as when one was added later."""
    refuse_token(max(max(row.ids) for row in (*examples.train, *examples.validation)), rows)


def _device() -> Literal["cpu", "cuda"]:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def processes_of(wanted: int | Literal["auto"], device: Literal["cpu", "cuda"], passes: int | None) -> int:
    """Return how many processes compute steps of `passes` forward passes each, on average; None takes any number.

    Raises UserError for more than there are GPUs.
    """
    import torch

    gpus = torch.cuda.device_count() if device == "cuda" else None
    if wanted == "auto":
        return min(gpus or 1, passes or gpus or 1)
    if gpus is not None:
        refuse_processes(wanted, gpus)
    if passes and wanted > passes:
        log.warning("some processes have nothing to do in a step: a larger `accumulation` uses them", passes=passes)
    return wanted


def refuse_processes(wanted: int, gpus: int) -> None:
    """Raise UserError if there are fewer GPUs than processes."""
    if wanted > gpus:
        raise UserError(
            f"`processes`={wanted} takes as many GPUs, and the number of visible ones is {gpus}: use `processes`=auto, "
            "and give the pod more (`nvidia.com/gpu` in the chart's `stages.trainer.resources`)"
        )


def refuse_shards(params: TrainerParams, processes: int) -> None:
    """Raise UserError if the base model is to be shared, and there is nobody to share it with."""
    if params.shard_base and processes == 1:
        raise UserError(
            "`shard_base`: there is one process, whose part is the whole base model. Give the pod more GPUs "
            "(`stages.trainer.gpu` in the chart), set `processes`, or leave it out"
        )


def _dtype(params: TrainerParams, device: str) -> Literal["bf16", "fp32"]:
    import torch

    able = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if params.dtype == "auto":
        return "bf16" if able else "fp32"
    if params.dtype == "bf16" and device == "cuda" and not able:
        raise UserError("`dtype`=bf16: this GPU has no bf16 arithmetic. Use fp32, or a GPU of 2020 or later")
    return params.dtype


def quantization_of(params: TrainerParams, device: str) -> Literal["none", "nf4"]:
    """Return the kind of the base weights. Raises UserError for one that is not installed."""
    wanted = params.quantization
    if wanted == "auto":
        wanted = "nf4" if device == "cuda" else "none"
    if wanted == "nf4" and not find_spec("bitsandbytes"):
        raise UserError("`quantization`=nf4 needs the package bitsandbytes (Linux). Install it, or use none")
    return wanted
