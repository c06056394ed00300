"""Tiny base models and slices, and training runs in processes of their own that may be stopped and killed."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kit import forks
from kit.chat_models import write_chat_model
from kit.support import run_stage
from tuneline.errors import Temporary, UserError
from tuneline.stage import InputRecord
from tuneline_trainer.stage import STAGE, TrainerInputs, TrainerOutputs, TrainerParams

BASE_SHA256 = "ab" * 32
LAST = 10
"""Optimiser steps of FAST over SLICES."""
SLICES = 12
VALIDATION = 2
FAST: dict[str, Any] = {
    "epochs": 2,
    "accumulation": 2,
    "learning_rate": 0.02,
    "save_steps": 2,
    "threads": 1,
    "lora": {"rank": 4, "alpha": 8},
}

RANKS = "ranks.json"
"""File in a run's folder with the numbers of the processes that the trainer had started at its last step."""

VARIABLES = "variables.json"
"""File in a run's folder with the variables that the stage may read."""

THINGS = ("order", "chairs", "Monday", "number", "house", "days", "two", "three", "today", "look", "sorry", "morning")

forks.preload("tuneline_trainer.train", "tuneline.engine.runner", "tuneline.store.file")


def conversation(seed: int, exchanges: int = 2) -> list[dict[str, str]]:
    """A conversation whose answers follow from the question, so that there is something to learn."""
    rng = random.Random(seed)
    messages = []
    for _ in range(exchanges):
        asked = rng.sample(THINGS, 3)
        messages.append({"role": "user", "content": f"Where is my {' '.join(asked)}?"})
        messages.append({"role": "assistant", "content": f"I have found it: {' '.join(reversed(asked))}."})
    return messages


def slice_row(
    number: int, split: str = "train", messages: Sequence[Mapping[str, object]] | None = None
) -> dict[str, Any]:
    """A row as the slicer writes it."""
    transcript = f"talk-{number}"
    row = {"id": f"{transcript}#2", "transcript": transcript, "point": 2, "dropped": 0, "split": split}
    return row | {"tokens": 0, "planning_tokens": 0, "messages": messages or conversation(number)}


def overlapping_rows(number: int, points: Sequence[int], dropped: Sequence[int], split: str = "train") -> list[Any]:
    """Rows of one transcript, as the slicer cuts it; its third answer is context only."""
    talk = conversation(number, max(points))
    talk[5] = {**talk[5], "learn": False}  # type: ignore[dict-item]
    rows = []
    for point, gone in zip(points, dropped, strict=True):
        row = slice_row(number, split, talk[2 * gone : 2 * point])
        rows.append(row | {"id": f"talk-{number}#{point}", "point": point, "dropped": gone})
    return rows


def write_overlapping(path: Path) -> Path:
    """Write slices that begin alike, and some that do not; those of one more transcript are for validation."""
    rows = [
        *overlapping_rows(1, [2, 4, 7], [0, 0, 0]),
        *overlapping_rows(2, [2, 5, 7, 8], [0, 0, 1, 1]),
        *overlapping_rows(3, [4], [0]),
        *overlapping_rows(4, [2, 4, 6], [0, 0, 1], "validation"),
    ]
    return write_rows(path, rows)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write slices.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_slices(path: Path) -> Path:
    """Write SLICES slices, the last VALIDATION of them for validation."""
    splits = ["train"] * (SLICES - VALIDATION) + ["validation"] * VALIDATION
    return write_rows(path, [slice_row(number, split) for number, split in enumerate(splits)])


def write_base(folder: Path, kind: Literal["gemma2", "llama"] = "gemma2") -> Path:
    """Write a model of two layers with random weights, its tokenizer and its chat template. Needs the heavy stack."""
    import torch
    from tokenizers import Tokenizer
    from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

    write_chat_model(folder, "gemma" if kind == "gemma2" else "llama")
    shape: dict[str, Any] = {
        "vocab_size": Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
    }
    torch.manual_seed(0)
    model = (
        Gemma2ForCausalLM(Gemma2Config(**shape, query_pre_attn_scalar=16, sliding_window=64))
        if kind == "gemma2"
        else LlamaForCausalLM(LlamaConfig(**shape))
    )
    model.save_pretrained(folder)
    return folder


class LocalContext:
    """A Context whose state is a plain folder; it stops, or dies, when step `stop_at` or `kill_at` is done.

    At `kill_rank_at` the last process that was started for the training dies.
    """

    part = None

    def __init__(
        self, folder: Path, stop_at: int | None = None, kill_at: int | None = None, kill_rank_at: int | None = None
    ) -> None:
        self._ranks, self._kill_rank_at = folder / RANKS, kill_rank_at
        self.fingerprint = "f" * 64
        self.lineage = {"base_model": InputRecord(uri=None, sha256=BASE_SHA256, size=1, count=1)}
        self._variables = folder / VARIABLES
        self._state, self._stop_at, self._kill_at = folder / "state", stop_at, kill_at
        self.touched = False

    @property
    def state(self) -> Path:
        self.touched = True
        self._state.mkdir(parents=True, exist_ok=True)
        return self._state

    def journal(self, *scope: str) -> Any:
        raise AssertionError("the trainer pays for nothing")

    def account(self, role: str, model: str) -> Any:
        raise AssertionError("the trainer pays for nothing")

    def limit(self, max_usd: float | None) -> None:
        raise AssertionError("the trainer pays for nothing")

    def is_forgotten(self, name: str, sha256: str) -> bool:
        return False

    def maker(self, port: str) -> Any:
        raise AssertionError("the trainer does not ask")

    def place(self, uri: str) -> Any:
        raise AssertionError("the trainer writes its outputs alone")

    def secret(self, name: str) -> str:
        values: dict[str, str] = json.loads(self._variables.read_text()) if self._variables.is_file() else {}
        if name not in values:
            raise UserError(f"{name} is not set")
        return values[name]

    def progress(self, done: int, total: int) -> None:
        children = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
        lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
        ranks = [pid for pid, line in lines.items() if b"tuneline_trainer.training.rank" in line]
        if done:
            self._ranks.write_text(json.dumps(ranks))
        if done == self._kill_rank_at:
            os.kill(max(ranks), signal.SIGKILL)
        if done == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if done == self._stop_at:
            raise Temporary(f"stopped at {done} of {total}")

    def tell(self, note: str) -> None:
        assert len(note) < 200


class Fault(NamedTuple):
    """Kill the process when the interpreter announces `event` for a path that ends with `path`."""

    event: str
    path: str


class Outcome(NamedTuple):
    """How a process ended: its exit code (negative: the signal), what it said, and whether it ever began to work."""

    exit_code: int
    error: str = ""
    metrics: Mapping[str, Any] = {}
    began: bool = False


def train(
    folder: Path,
    base: Path,
    slices: Path,
    params: Mapping[str, Any] | None = None,
    *,
    stop_at: int | None = None,
    kill_at: int | None = None,
    kill_rank_at: int | None = None,
    fault: Fault | None = None,
) -> Outcome:
    """Run the trainer in a process of its own, with outputs and state in `folder`; state stays between calls."""
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "outcome.json"
    told.unlink(missing_ok=True)
    stops = (stop_at, kill_at, kill_rank_at)
    process = forks.start(_train, folder, base, slices, {**FAST, **(params or {})}, stops, fault)
    code = ended(process)
    return Outcome(code, **json.loads(told.read_text())) if told.is_file() else Outcome(code)


def begins_with_the_stack() -> None:
    """For `start`; exits 1 in a process that has the imports still before it."""
    sys.exit("trl" not in sys.modules)


def ended(process: ForkServerProcess, deadline_s: float = 120) -> int:
    """Wait for a process and return its exit code."""
    process.join(deadline_s)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the process did not end within {deadline_s} s")
    return process.exitcode


def check(function: str, *args: object) -> None:
    """Call a function of `checks` in a process of its own; it fails by raising, which is printed."""
    assert ended(forks.start(_check, function, *args)) == 0, function


def _check(function: str, *args: object) -> None:
    checks = importlib.import_module("trainer.checks")
    getattr(checks, function)(*args)


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of every output of a run in `folder`, by name."""
    outputs = folder / "outputs"
    return {p.relative_to(outputs).as_posix(): p.read_bytes() for p in sorted(outputs.rglob("*")) if p.is_file()}


def whole_checkpoints(folder: Path) -> list[str]:
    """The names of the checkpoints that count, oldest first."""
    found = [p.name for p in (folder / "state").glob("checkpoint-*") if p.suffix != ".part"]
    return sorted(found, key=lambda name: int(name.rpartition("-")[2]))


def _train(
    folder: Path, base: Path, slices: Path, params: dict[str, Any], stops: tuple[int | None, ...], fault: Fault | None
) -> None:
    warnings.simplefilter("error")
    sys.addaudithook(_stay_offline)
    context = LocalContext(folder, *stops)
    outputs = folder / "outputs"
    (outputs / "adapter").mkdir(parents=True, exist_ok=True)
    ports = TrainerOutputs(
        adapter=outputs / "adapter", metrics=outputs / "metrics.jsonl", training=outputs / "training.json"
    )
    if fault:
        _die_at(fault)
    error, metrics, code = "", {}, 0
    try:
        made = STAGE.run(TrainerParams(**params), TrainerInputs(slices=slices, base_model=base), ports, context)
        metrics = made.counts | {"headline": made.headline}
    except (UserError, Temporary) as e:
        error, code = str(e), 2 if isinstance(e, UserError) else 75
    told = {"error": error, "metrics": metrics, "began": context.touched}
    (folder / "outcome.json").write_text(json.dumps(told))
    sys.exit(code)


def _stay_offline(event: str, args: tuple[object, ...]) -> None:
    """End the process when anything asks for the address of a host: a raised error might be swallowed."""
    if event == "socket.getaddrinfo":
        print(f"a look-up of {args[0]}", file=sys.stderr, flush=True)
        os._exit(99)


def _die_at(fault: Fault) -> None:
    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == fault.event and str(args[0]).endswith(fault.path):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def train_in_store(folder: Path, base: Path, slices: Path, params: dict[str, Any]) -> None:
    """Run the trainer with the real runner on a file store in `folder`; for `start`. Exits 75 when it was stopped."""
    try:
        run_stage(STAGE, folder, inputs={"slices": slices, "base_model": base}, params=params)
    except Temporary:
        sys.exit(75)
