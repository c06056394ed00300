"""What can be known of the training before there is anything to train on."""

from __future__ import annotations

from typing import Literal

from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer, fold_system
from tuneline.stage import Checks
from tuneline_trainer.examples.rows import refuse_token
from tuneline_trainer.model.attention import Machine, attention_of, refuse_attention, this_machine
from tuneline_trainer.model.base_model import BaseModelFacts, glance_at_base_model
from tuneline_trainer.model.memory import GPUS, adapter_parameters, capacity, estimate, gib, require_memory
from tuneline_trainer.record.tracking import require_place, require_tracker
from tuneline_trainer.stage import TrainerParams
from tuneline_trainer.training.prepare import quantization_of, refuse_processes, refuse_shards

PROBE = (
    {"role": "user", "content": "Hello, I have a question."},
    {"role": "assistant", "content": "Please ask."},
    {"role": "user", "content": "Is it late?"},
    {"role": "assistant", "content": "No, it is early."},
)
"""A conversation of nobody, in which the answers must be found."""

GPU_DRIVER = GPUS.parent / "version"


def check_given(params: TrainerParams, checks: Checks) -> None:
    """See whether the base model can be trained, its layers bear the adapter, and its template shows what is learnt."""
    glance = checks.read("base_model", glance_at_base_model)
    chat = checks.read("base_model", ChatTokenizer.from_folder, checks.inputs.get("chat_template"))
    facts, shapes = glance or (None, None)
    for tracker in params.report_to:
        with checks.about("report_to"):
            if checks.work:
                require_tracker(tracker)
            require_place(tracker, checks)
    if shapes:
        with checks.about("lora.targets"):
            adapter_parameters(params.lora, shapes)
    if facts:
        with checks.about("attention"):
            refuse_attention(params.attention, capped=facts.architecture.capped)
        on_gpu = GPU_DRIVER.exists() if checks.work else True
        setup = _setup(params, facts, on_gpu)
        if checks.work:
            if on_gpu and params.processes != "auto":
                with checks.about("processes"):
                    refuse_processes(params.processes, _gpus())
            with checks.about("shard_base"):
                refuse_shards(params, params.processes if params.processes != "auto" else _gpus() if on_gpu else 1)
            with checks.about("quantization"):
                quantization_of(params, setup.device)
            with checks.about("attention"):
                attention_of(
                    params.attention, this_machine(setup.device, setup.dtype), capped=facts.architecture.capped
                )
        with checks.about("base_model"):
            _check_memory(params, checks, facts, setup)
    if chat:
        with checks.about("base_model"):
            encoded = chat.encode_conversation(fold_system(PROBE, chat))
            if sum(encoded.assistant_mask) == 0:
                raise UserError("base_model: its chat template shows no token of an answer, so nothing could be learnt")
            if facts:
                refuse_token(max(encoded.input_ids), facts.architecture.vocab_size)


def _check_memory(params: TrainerParams, checks: Checks, facts: BaseModelFacts, setup: TrainingSetup) -> None:
    """Refuse a machine that cannot even hold the model with a slice of one token; what a GPU holds is seen on it."""
    longest, on_gpu = setup.max_length, setup.device == "cuda"
    shards = _shards(params)
    least, most = (estimate(params, setup, facts, tokens, params.batch_size, shards) for tokens in (1, longest))
    where = "on a GPU" if on_gpu else "on this machine's processor"
    where += f" for each of {shards} processes" if shards > 1 else ""
    checks.note(f"about {gib(least.total)} of memory {where}, {gib(most.total)} with slices of {longest:,} tokens")
    if not on_gpu:
        require_memory(least, capacity(setup, shards), setup, 1)


def _gpus() -> int:
    return len(list(GPUS.glob("*")))


def _shards(params: TrainerParams) -> int:
    """Return among how many processes the base model is shared; two where only the machine that trains will tell."""
    if not params.shard_base:
        return 1
    return params.processes if params.processes != "auto" else max(2, _gpus())


def _setup(params: TrainerParams, facts: BaseModelFacts, on_gpu: bool) -> TrainingSetup:
    """Resolve every `auto` as the trainer will."""
    device: Literal["cpu", "cuda"] = "cuda" if on_gpu else "cpu"
    dtype = params.dtype if params.dtype != "auto" else "bf16" if on_gpu else "fp32"
    kernel = attention_of("auto", Machine(device, dtype), capped=facts.architecture.capped)
    return TrainingSetup(
        device=device,
        dtype=dtype,
        quantization=params.quantization if params.quantization != "auto" else "nf4" if on_gpu else "none",
        attention=params.attention if params.attention != "auto" else kernel,
        max_length=min(params.max_length, facts.architecture.max_position_embeddings),
        threads=params.threads,
        libraries={},
    )
