"""The training loop: TRL's SFTTrainer with what it lacks to be killed, stopped and trusted."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils.logging import disable_progress_bar
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tuneline.errors import UserError
from tuneline.stage import Context
from tuneline_trainer.examples.batches import Batch, Collator
from tuneline_trainer.examples.steps import Steps
from tuneline_trainer.model import head
from tuneline_trainer.model.attention import compile_every_form
from tuneline_trainer.model.hidden import plain_layers
from tuneline_trainer.model.layers import target_modules
from tuneline_trainer.model.loading import load_model
from tuneline_trainer.model.memory import peak_bytes, return_freed_memory
from tuneline_trainer.record import checkpoints
from tuneline_trainer.record.metrics import LiveMetrics
from tuneline_trainer.record.tracking import Trackers
from tuneline_trainer.training.crew import MEETING, Work, train_together
from tuneline_trainer.training.guard import Guard, Told
from tuneline_trainer.training.peers import GradientSum, Peers
from tuneline_trainer.training.prepare import Prepared
from tuneline_trainer.training.shards import shard_base


class LoraTrainer(SFTTrainer):
    """SFTTrainer that saves only the adapter, restores it exactly and stays off the network.

    What its data loader yields is a whole optimiser step, so that steps may differ in their number of rows. Of several
    processes each takes every n-th forward pass of a step, and every n-th row of a validation. Where they share the
    base model, one that has none left computes another's for nothing: no layer is whole without all of them.
    """

    loss_is_scaled_for_ga = True  # type: ignore[assignment]
    peers = Peers()
    sharing = False

    def get_train_dataloader(self) -> DataLoader[object]:
        """Yield the steps in their order: each pass is shuffled already, and every process may see all of it."""
        assert isinstance(self.train_dataset, Dataset)
        return DataLoader(self.train_dataset, collate_fn=self.data_collator)

    def training_step(self, model: nn.Module, inputs: Mapping[str, Any], *_: object) -> torch.Tensor:
        """Sum the gradients of a step's forward passes; their weights add up to 1."""
        batches, peers, losses = inputs["batches"], self.peers, []
        gradient = GradientSum([weight for weight in model.parameters() if weight.requires_grad], peers)
        for start in range(0, len(batches), peers.count):
            if (at := start + peers.rank) < len(batches):
                torch.manual_seed(_seed_of(self.args.seed, self.state.global_step, at))
                losses.append(super().training_step(model, batches[at]))  # type: ignore[no-untyped-call]
            elif self.sharing:
                super().training_step(model, batches[start])  # type: ignore[no-untyped-call]
            if peers.count > 1:
                gradient.add(min(peers.count, len(batches) - start))
        if peers.count > 1:
            gradient.put()
        return peers.joined(losses, len(batches), self.args.device).sum()

    def evaluation_loop(self, *_: object, **__: object) -> EvalLoopOutput:
        """Return the mean loss of the rows of validation."""
        model, peers = cast(PeftModel, self.model).eval(), self.peers
        rows = range(len(cast(Dataset, self.eval_dataset)))
        mine = list(rows[peers.rank :: peers.count])
        idle = [0] * (len(rows[:: peers.count]) - len(mine)) if self.sharing else []
        found = [
            self.prediction_step(model, self.data_collator([{"row": row}]), prediction_loss_only=True)[0]
            for row in mine + idle
        ]
        losses = peers.joined(found[: len(mine)], len(rows), self.args.device)
        return EvalLoopOutput(None, None, {"eval_loss": losses.mean().item()}, len(rows))  # type: ignore[arg-type]

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: object = None
    ) -> torch.Tensor:
        """Weigh the loss of each token. There is no attention mask: in a causal model no token sees padding behind it.

        TRL's own reduction would divide by the number of tokens. Its head never holds the logits of all tokens.
        """
        ids, labels = inputs["input_ids"], inputs["labels"]
        outputs = model(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True)
        loss: torch.Tensor = -(outputs.log_probs * inputs["weights"][:, 1:]).sum()
        return loss

    def floating_point_ops(self, inputs: object) -> int:
        """Not counted."""
        return 0

    def _track_num_input_tokens(self, inputs: Mapping[str, Any]) -> None:
        self.state.num_input_tokens_seen += sum(int(batch["tokens"].sum()) for batch in inputs["batches"])

    def _send_telemetry(self) -> None:
        """Stay silent: a stage talks to nobody but its runner."""

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write no card: TRL's names local paths."""

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Leave out the tokenizer, which the base model has, and training_args.bin, a pickle that nothing reads."""
        folder = Path(output_dir or str(self.args.output_dir))
        assert isinstance(self.model, PeftModel)
        # "auto" would look at the base model's config, on the hub if need be; embeddings are never trained here.
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink()

    def _save_rng_state(self, output_dir: str) -> None:
        """Save nothing: each forward pass has random numbers of its own."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Load nothing."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """Put the saved numbers into the adapter that is there.

        The inherited way goes through `PeftModel.load_adapter`, which turns a bf16 adapter into fp32: QLoRA would go on
        in another precision than it began with.
        """
        set_peft_model_state_dict(model or self.model, load_peft_weights(resume_from_checkpoint, device="cpu"))


def _seed_of(seed: int, step: int, at: int) -> int:
    """Return what the random numbers of a forward pass (its dropout) begin with, whoever computes it, and when."""
    return random.Random(f"{seed} {step} {at}").getrandbits(63)


def run_training(prepared: Prepared, context: Context, checkpoint: Path | None, metrics: Path) -> int:
    """Train to the end, from `checkpoint` if there is one; the result is the newest checkpoint in the state folder.

    The file `metrics` grows meanwhile, and the trackers get the same. Returns the most bytes that a process held.

    Raises Temporary after SIGTERM, when the step it came in is saved, and UserError when the numbers go wrong.
    """
    params = prepared.params
    before = checkpoints.state_of(checkpoint) if checkpoint else None
    saving = checkpoints.saving_folder(context.state, checkpoint)
    with Trackers(params.report_to, context, params.model_dump(mode="json", exclude={"report_to"})) as trackers:
        told = Told(
            context.progress, LiveMetrics(metrics, trackers, before, prepared.steps_per_epoch, context.tell).add
        )
        work = Work(prepared, checkpoint, saving)
        if prepared.processes == 1 and torch.cuda.device_count() <= 1:
            return train(work, told, Peers())
        return train_together(work, told)


def train(work: Work, told: Told, peers: Peers) -> int:
    """Do the work of one process."""
    prepared, checkpoint = work.prepared, work.checkpoint
    torch.set_num_threads(prepared.setup.threads)
    if prepared.setup.device == "cpu":
        return_freed_memory()
    if prepared.setup.attention == "flex_attention":
        compile_every_form()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # Of a name that PEFT uses and transformers has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            guard = Guard(prepared, told, peers)
            trainer = new_trainer(prepared, work.saving, guard)
            trainer.args.eval_on_start = bool(prepared.examples.validation) and checkpoint is None
            if peers.count > 1:
                peers.meet(work.saving / MEETING)
            if trainer.sharing:
                shard_base(cast(PeftModel, trainer.model), peers, trainer.args.device)
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise UserError(
            f"the GPU ran out of memory with `batch_size`={prepared.params.batch_size} and "
            f"{prepared.examples.longest:,} tokens: use a GPU with more memory, shorter slices (slicer `max_tokens`), "
            "or `attention`=flex_attention"
        ) from None
    if guard.stopped:
        raise guard.stopped
    return peak_bytes()


def new_trainer(prepared: Prepared, folder: Path, guard: Guard) -> LoraTrainer:
    """Load the model and put an adapter on it; `folder` is where checkpoints are written."""
    params, examples, lora = prepared.params, prepared.examples, prepared.params.lora
    steps = Steps(examples.train, prepared.steps_per_epoch, params.batch_size, params.seed)
    model = load_model(prepared.setup, prepared.base, whole=not params.shard_base)
    if prepared.setup.device == "cpu":
        head.use_on_cpu()
    with plain_layers(prepared.setup.quantization):
        trainer = LoraTrainer(
            model=model,
            args=_arguments(prepared, folder, first=guard.peers.first),
            train_dataset=Dataset.from_dict({"step": range(prepared.steps)}),
            eval_dataset=Dataset.from_dict({"row": range(len(examples.validation))}) if examples.validation else None,
            data_collator=Collator(steps, examples.validation),
            processing_class=prepared.tokenizer,
            # Not wrapped by us: TRL seeds before the adapter gets its first numbers.
            peft_config=LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=target_modules(model, lora.targets),
                bias="none",
                task_type="CAUSAL_LM",
            ),
            callbacks=[guard],
        )
    trainer.peers, trainer.sharing = guard.peers, params.shard_base
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(prepared: Prepared, folder: Path, *, first: bool) -> SFTConfig:
    params, setup = prepared.params, prepared.setup
    return SFTConfig(
        output_dir=str(folder),
        max_steps=prepared.steps,
        per_device_train_batch_size=1,  # a step
        gradient_accumulation_steps=1,
        learning_rate=params.learning_rate,
        lr_scheduler_type="constant_with_warmup" if params.scheduler == "constant" else params.scheduler,
        warmup_steps=params.warmup,  # below 1 it is a share
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch",
        bf16=setup.dtype == "bf16",
        use_cpu=setup.device == "cpu",
        activation_checkpointing=params.gradient_checkpointing,
        seed=params.seed,
        per_device_eval_batch_size=1,
        eval_strategy="no",  # Guard asks for it
        prediction_loss_only=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if first else "no",
        save_steps=params.save_steps,
        report_to="none",
        disable_tqdm=True,
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        dataloader_pin_memory=setup.device == "cuda",
        # The rows are ready: TRL would cut their ends and drop those that then teach nothing.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        router_aux_loss_coef=0.0,  # routers of experts are never trained, and TRL fails on some models that have them
    )
