"""What happens beside the steps of a training: checkpoints, validations, stops, and numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from peft import PeftModel
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from tuneline.data.io import write_lines
from tuneline.data.training import TrainingSetup
from tuneline.errors import Temporary, UserError
from tuneline_trainer.record import checkpoints
from tuneline_trainer.record.metrics import FILE, rows_of
from tuneline_trainer.training.peers import Peers
from tuneline_trainer.training.prepare import Prepared


class Told(NamedTuple):
    """Whoever is told how the training goes."""

    progress: Callable[[int, int], None]
    """Takes the steps that are done, and all. Raises Temporary when the training should stop."""
    add: Callable[[Mapping[str, float]], None]
    """Takes an entry of the log of transformers."""


class Guard(TrainerCallback):
    """Makes checkpoints whole, validates at the end of each epoch, stops on SIGTERM and on numbers that are none.

    Of several processes the first one saves; all stop and validate at the same steps.
    """

    def __init__(self, prepared: Prepared, told: Told, peers: Peers) -> None:
        self.stopped: Temporary | None = None
        self.peers = peers
        self._prepared, self._told = prepared, told

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Validate here and not after the epoch: the row must be in the checkpoint that this step may save."""
        step, last, prepared = state.global_step, self._prepared.steps, self._prepared
        due = step % prepared.steps_per_epoch == 0 or step % (prepared.params.eval_steps or last) == 0
        if prepared.examples.validation and (due or step == last):
            control.should_evaluate = True
        try:
            self._told.progress(step, last)
        except Temporary as stopped:
            self.stopped = stopped
        if self.peers.agreed(self.stopped is not None):
            self._stop(control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **has: object) -> None:
        """Set the best adapter aside; stop when it has been the best for too long."""
        if self.peers.first and state.global_step == checkpoints.best_step(state):
            folder, model = Path(str(args.output_dir)), has["model"]
            assert isinstance(model, PeftModel)
            with TemporaryDirectory(dir=folder) as scratch:
                model.save_pretrained(scratch, save_embedding_layers=False)
                Path(scratch, checkpoints.WEIGHTS).rename(folder / checkpoints.BEST)
        if checkpoints.out_of_patience(state, self._prepared.params.patience):
            self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        control.should_save, control.should_training_stop = self.peers.first, True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: object,
    ) -> None:  # fmt: skip
        """Comes after each step and validation, before anything is saved: no checkpoint ever holds such numbers."""
        for name in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(value := (logs or {}).get(name, 0.0)):
                raise UserError(_not_finite(name, value, state.global_step, self._prepared.setup))
        self._told.add(state.log_history[-1])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        saving = Path(str(args.output_dir))
        written = saving / f"checkpoint-{state.global_step}"
        write_lines(written / FILE, rows_of(state.log_history, self._prepared.steps_per_epoch))
        checkpoints.publish(written, saving.parent, self._prepared.setup)


def _not_finite(name: str, value: float, step: int, setup: TrainingSetup) -> str:
    what = {"loss": "the loss", "grad_norm": "the length of the gradient", "eval_loss": "the validation loss"}[name]
    if step == 0:
        return f"{what} is {value} before the first step: the base model is damaged, or {setup.dtype} cannot hold it"
    ways = "a lower `learning_rate`, a longer `warmup`, a lower `max_grad_norm`"
    ways += ", `dtype`=fp32" if setup.dtype == "bf16" else ""
    return f"{what} is {value} at step {step}: training has diverged and cannot recover. Ways out: {ways}"
