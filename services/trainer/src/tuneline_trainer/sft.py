"""The training loop: TRL's SFTTrainer with what it lacks to be killed, stopped and trusted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.utils.logging import disable_progress_bar
from trl.kernels import chunked_logprob
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tuneline.data.io import write_lines
from tuneline.data.training import TrainingSetup
from tuneline.errors import Temporary, UserError
from tuneline.model.base_model import as_listed
from tuneline.parsing.problems import printable
from tuneline.stage import Context
from tuneline_trainer import checkpoints
from tuneline_trainer.base_model import BaseModelFacts
from tuneline_trainer.batches import Batch, Collator
from tuneline_trainer.layers import target_modules
from tuneline_trainer.memory import HEAD_TOKENS_ON_CPU, return_freed_memory
from tuneline_trainer.metrics import FILE, LiveMetrics, rows_of
from tuneline_trainer.prepare import Prepared
from tuneline_trainer.tracking import Trackers


class Guard(TrainerCallback):
    """Makes checkpoints whole, validates at the end of each epoch, stops on SIGTERM and on numbers that are none."""

    def __init__(self, context: Context, prepared: Prepared, metrics: LiveMetrics) -> None:
        self.stopped: Temporary | None = None
        self._context, self._prepared, self._metrics = context, prepared, metrics

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Validate here and not after the epoch: the row must be in the checkpoint that this step may save."""
        step, last, prepared = state.global_step, self._prepared.steps, self._prepared
        due = step % prepared.steps_per_epoch == 0 or step % (prepared.params.eval_steps or last) == 0
        if prepared.examples.validation and (due or step == last):
            control.should_evaluate = True
        try:
            self._context.progress(step, last)
        except Temporary as stopped:
            self.stopped = stopped
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **has: object) -> None:
        """Set the best adapter aside; stop when it has been the best for too long."""
        if state.global_step == checkpoints.best_step(state):
            folder, model = Path(str(args.output_dir)), has["model"]
            assert isinstance(model, PeftModel)
            with TemporaryDirectory(dir=folder) as scratch:
                model.save_pretrained(scratch, save_embedding_layers=False)
                Path(scratch, checkpoints.WEIGHTS).rename(folder / checkpoints.BEST)
        if checkpoints.out_of_patience(state, self._prepared.params.patience):
            control.should_save = control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: object,
    ) -> None:  # fmt: skip
        """Comes after each step and validation, before anything is saved: no checkpoint ever holds such numbers."""
        for name in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(value := (logs or {}).get(name, 0.0)):
                raise UserError(_not_finite(name, value, state.global_step, self._prepared.setup))
        self._metrics.add(state.log_history[-1])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        written = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        write_lines(written / FILE, rows_of(state.log_history, self._prepared.steps_per_epoch))
        checkpoints.publish(written, self._context.state, self._prepared.setup)


def _not_finite(name: str, value: float, step: int, setup: TrainingSetup) -> str:
    what = {"loss": "the loss", "grad_norm": "the length of the gradient", "eval_loss": "the validation loss"}[name]
    if step == 0:
        return f"{what} is {value} before the first step: the base model is damaged, or {setup.dtype} cannot hold it"
    ways = "a lower `learning_rate`, a longer `warmup`, a lower `max_grad_norm`"
    ways += ", `dtype`=fp32" if setup.dtype == "bf16" else ""
    return f"{what} is {value} at step {step}: training has diverged and cannot recover. Ways out: {ways}"


class LoraTrainer(SFTTrainer):
    """SFTTrainer that saves only the adapter, restores it exactly and stays off the network.

    What its data loader yields is a whole optimiser step, so that steps may differ in their number of rows.
    """

    loss_is_scaled_for_ga = True  # type: ignore[assignment]

    def get_train_dataloader(self) -> DataLoader[object]:
        """Yield the steps in their order: each pass is shuffled already, and every process may see all of it."""
        assert isinstance(self.train_dataset, Dataset)
        return DataLoader(self.train_dataset, collate_fn=self.data_collator)

    def training_step(self, model: nn.Module, inputs: Mapping[str, Any], *_: object) -> torch.Tensor:
        """Sum the gradients of a step's forward passes; their weights add up to 1."""
        losses = [super(LoraTrainer, self).training_step(model, batch) for batch in inputs["batches"]]  # type: ignore[no-untyped-call]
        return torch.stack(losses).sum()

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

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """Put the saved numbers into the adapter that is there.

        The inherited way goes through `PeftModel.load_adapter`, which turns a bf16 adapter into fp32: QLoRA would go on
        in another precision than it began with.
        """
        set_peft_model_state_dict(model or self.model, load_peft_weights(resume_from_checkpoint, device="cpu"))


def run_training(prepared: Prepared, context: Context, checkpoint: Path | None, metrics: Path) -> None:
    """Train to the end, from `checkpoint` if there is one; the result is the newest checkpoint in the state folder.

    The file `metrics` grows meanwhile, and the trackers get the same.

    Raises Temporary after SIGTERM, when the step it came in is saved, and UserError when the numbers go wrong.
    """
    params, examples = prepared.params, prepared.examples
    torch.set_num_threads(prepared.setup.threads)
    if prepared.setup.device == "cpu":
        chunked_logprob.TOKEN_CHUNK_SIZE = HEAD_TOKENS_ON_CPU
        return_freed_memory()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    params_told = params.model_dump(mode="json", exclude={"report_to"})
    try:
        with Trackers(params.report_to, context, params_told) as trackers, warnings.catch_warnings():
            # Of a name that PEFT uses and transformers has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            before = checkpoints.state_of(checkpoint) if checkpoint else None
            guard = Guard(context, prepared, LiveMetrics(metrics, trackers, before, prepared.steps_per_epoch))
            trainer = new_trainer(prepared, checkpoints.saving_folder(context.state, checkpoint), guard)
            trainer.args.eval_on_start = bool(examples.validation) and checkpoint is None
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise UserError(
            f"the GPU ran out of memory with `batch_size`={params.batch_size} and {examples.longest:,} tokens: "
            "use a GPU with more memory, shorter slices (slicer `max_tokens`), or `attention`=flex_attention"
        ) from None
    if guard.stopped:
        raise guard.stopped


def new_trainer(prepared: Prepared, folder: Path, guard: Guard) -> LoraTrainer:
    """Load the model and put an adapter on it; `folder` is where checkpoints are written."""
    examples, lora = prepared.examples, prepared.params.lora
    model = load_model(prepared.setup, prepared.base)
    trainer = LoraTrainer(
        model=model,
        args=_arguments(prepared, folder),
        train_dataset=Dataset.from_dict({"step": range(prepared.steps)}),
        eval_dataset=Dataset.from_dict({"row": range(len(examples.validation))}) if examples.validation else None,
        data_collator=Collator(prepared),
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
    trainer.remove_callback(PrinterCallback)
    return trainer


def load_model(setup: TrainingSetup, base: BaseModelFacts) -> PreTrainedModel:
    """Load the base model. Raises UserError if its files do not fit its config, or lack a weight.

    A weight that is missing would be filled with random numbers.
    """
    dtype = torch.bfloat16 if setup.dtype == "bf16" else torch.float32
    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    try:
        with as_listed(base.folder) as listed:
            loaded = AutoModelForCausalLM.from_pretrained(
                str(listed),
                dtype=dtype,
                attn_implementation=setup.attention,
                quantization_config=nf4 if setup.quantization == "nf4" else None,
                device_map={"": 0} if setup.device == "cuda" else None,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:  # no transcript is near
        raise UserError(f"base_model: transformers cannot load its weights: {printable(str(error))}") from None
    model, report = cast(tuple[PreTrainedModel, Mapping[str, set[str]]], loaded)
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"base_model: {len(missing)} weights are missing, first {missing[0]}: copy the whole model")
    model.name_or_path = model.config._name_or_path = str(base.folder)
    if setup.quantization == "nf4":
        _keep_trainable(model)
    return model


def _keep_trainable(model: PreTrainedModel) -> None:
    """Forbid bitsandbytes to repack 4-bit weights for inference.

    On processors with AVX512-BF16 the first validation would do so, for good, and the packed layers have no backward
    pass: from then on no gradient would flow through them, with no more than a warning.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _arguments(prepared: Prepared, folder: Path) -> SFTConfig:
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
        save_strategy="steps",
        save_steps=params.save_steps,
        report_to="none",
        disable_tqdm=True,
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        dataloader_pin_memory=setup.device == "cuda",
        # The rows are ready: TRL would cut their ends and drop those that then teach nothing.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
