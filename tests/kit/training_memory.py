"""Measures what a training step takes of memory, and compares it with the trainer's estimate.

`python tests/kit/training_memory.py BASE` (with PYTHONPATH=tests) goes through GRID on the base model in folder BASE,
such as the one that `make run-real` fetches, and prints a row per cell. Each cell is a process of its own: the trainer
as it is, on made slices of so many tokens, for two steps, so that the second one holds the optimiser's moments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from kit.peak_memory import held
from trainer.runs import LocalContext, slice_row, write_rows
from tuneline.model.chat import ChatTokenizer
from tuneline.stage import Json
from tuneline_trainer.stage import LoraParams, TrainerInputs, TrainerOutputs, TrainerParams
from tuneline_trainer.stage import run as run_trainer


class Cell(NamedTuple):
    """One training: what decides its memory."""

    batch: int
    tokens: int
    rank: int
    targets: str
    checkpointing: bool
    dtype: str


GRID = (
    Cell(1, 256, 8, "attention", True, "fp32"),
    Cell(1, 256, 64, "all-linear", False, "fp32"),
    Cell(1, 1024, 8, "all-linear", False, "fp32"),
    Cell(1, 1024, 64, "attention", False, "fp32"),
    Cell(1, 1024, 8, "all-linear", True, "fp32"),
    Cell(4, 256, 64, "all-linear", True, "fp32"),
    Cell(4, 256, 8, "attention", False, "fp32"),
    Cell(4, 1024, 8, "attention", False, "fp32"),
    Cell(1, 1024, 64, "all-linear", False, "bf16"),
)


class Measured(NamedTuple):
    """Bytes: what the trainer said it would take, and the most that its process held."""

    estimated: int
    peak: int


def params_of(cell: Cell) -> TrainerParams:
    """Return the trainer's parameters for a cell: two steps."""
    lora = {"rank": cell.rank, "alpha": cell.rank} | ({"targets": "all-linear"} if cell.targets == "all-linear" else {})
    return TrainerParams(
        epochs=2, batch_size=cell.batch, accumulation=1, max_length=cell.tokens, lora=LoraParams.model_validate(lora),
        dtype="bf16" if cell.dtype == "bf16" else "fp32", gradient_checkpointing=cell.checkpointing,
    )  # fmt: skip


def write_talks(path: Path, base: Path, tokens: int, count: int) -> Path:
    """Write `count` slices of one exchange, with an answer so long that all is just below `tokens` tokens."""
    chat = ChatTokenizer.from_folder(base)

    def talk(words: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "so it is, " * words + "."}]

    words = tokens
    while (length := len(chat.encode_conversation(talk(words)).input_ids)) > tokens:
        words -= max(1, (length - tokens) // 8)
    return write_rows(path, [slice_row(number, messages=talk(words)) for number in range(count)])


def measure(base: Path, cell: Cell) -> Measured:
    """Train a cell in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, str(base), json.dumps(cell)], stdout=subprocess.PIPE, text=True, check=True
    )
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def train(base: Path, cell: Cell) -> Measured:
    """Train a cell here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slices = write_talks(folder / "slices.jsonl", base, cell.tokens, cell.batch)
        outputs = TrainerOutputs(
            adapter=folder / "adapter", metrics=folder / "metrics.jsonl", training=folder / "training.json"
        )
        outputs.adapter.mkdir()
        inputs = TrainerInputs(slices=slices, base_model=base)
        counts: dict[str, Json] = run_trainer(params_of(cell), inputs, outputs, LocalContext(folder)).counts
    return Measured(int(str(counts["estimated_memory_bytes"])), held("VmHWM"))


def main(base: Path) -> None:
    """Measure every cell and print it."""
    for cell in GRID:
        estimated, peak = measure(base, cell)
        print(*cell, f"{peak / 2**30:.2f} GiB", f"{estimated / peak:.2f} of it estimated", sep="\t", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(train(Path(sys.argv[1]), Cell(*json.loads(sys.argv[2])))))
    else:
        main(Path(sys.argv[1]))
