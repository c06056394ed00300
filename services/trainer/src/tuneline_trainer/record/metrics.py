"""The rows of metrics.jsonl, which grows while training and is part of every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from transformers import TrainerState

from tuneline.data.io import write_lines
from tuneline.data.training import TrainingRow
from tuneline_trainer.record.tracking import Trackers

FILE = "metrics.jsonl"


def rows_of(log_history: Iterable[Mapping[str, float]], steps_per_epoch: int) -> list[TrainingRow]:
    """Return the rows of the log of transformers; its last entry is a summary, which has none."""
    return [row for entry in log_history for row in _rows(entry, steps_per_epoch)]


def _rows(entry: Mapping[str, float], steps_per_epoch: int) -> list[TrainingRow]:
    step = int(entry["step"])
    if "loss" in entry:
        values = {name: entry[name] for name in ("loss", "learning_rate", "grad_norm")}
        return [TrainingRow(step=step, epoch=round(step / steps_per_epoch, 4), **values)]
    return [TrainingRow(step=step, validation_loss=entry["eval_loss"])] if "eval_loss" in entry else []


class LiveMetrics:
    """Writes each row when it comes, to a file and to the trackers."""

    def __init__(
        self, path: Path, trackers: Trackers, before: TrainerState | None, per_epoch: int, tell: Callable[[str], None]
    ) -> None:
        """Begin with the rows of the checkpoint that is gone on from: those after it will come again."""
        self._path, self._trackers, self._per_epoch, self._tell = path, trackers, per_epoch, tell
        write_lines(path, rows_of(before.log_history, per_epoch) if before else [])

    def add(self, entry: Mapping[str, float]) -> None:
        """Take an entry of the log of transformers."""
        rows = _rows(entry, self._per_epoch)
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{row.model_dump_json(exclude_none=True)}\n" for row in rows)
        self._trackers.send(rows)
        if "loss" in entry:
            self._tell(f"loss {entry['loss']:.3f}")
