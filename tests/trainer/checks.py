"""Checks that need the heavy stack: each is called in a process of its own by `runs.check`, and fails by raising."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kit.chat_models import Family, write_chat_model
from trainer import runs
from tuneline.data.slices import Slice
from tuneline.data.training import TrainingSetup
from tuneline.errors import UserError
from tuneline.model.chat import ChatTokenizer
from tuneline_trainer.base_model import Architecture, BaseModelFacts, read_base_model
from tuneline_trainer.memory import estimate, require_memory
from tuneline_trainer.prepare import settle
from tuneline_trainer.rows import encode, read_examples
from tuneline_trainer.sft import load_model
from tuneline_trainer.stage import TrainerParams


def ids_are_those_of_transformers(folder: Path, family: Family) -> None:
    write_chat_model(folder, family)
    messages = runs.conversation(5, exchanges=4)
    source = Slice.model_validate(runs.slice_row(1, messages=messages))
    found, _ = encode(ChatTokenizer.from_folder(folder), source, 4)
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, return_dict=False)
    assert found.input_ids == text


def lose_a_weight(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def break_a_weight(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][3, 5] = math.nan
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def memory_of_gemma_2_9b() -> None:
    """In 4 bits, at 8,192 tokens: the weights are known to take 6 GiB, and a GPU of 8 GiB does not do."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (256_000, 3584)}
    for layer in range(42):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{n}_proj.weight": (4096 if n == "q" else 2048, 3584) for n in "qkv"}
        shapes |= {f"{at}.mlp.{n}_proj.weight": (14336, 3584) for n in ("gate", "up")}
        shapes |= {f"{at}.self_attn.o_proj.weight": (3584, 4096), f"{at}.mlp.down_proj.weight": (3584, 14336)}
    architecture = Architecture(
        model_type="gemma2", hidden_size=3584, intermediate_size=14336, num_hidden_layers=42,
        num_attention_heads=16, max_position_embeddings=8192, vocab_size=256_000, attn_logit_softcapping=50.0,
    )  # fmt: skip
    setup = TrainingSetup(
        device="cuda", dtype="bf16", quantization="nf4", attention="eager", max_length=8192, threads=1, libraries={}
    )
    needed = estimate(TrainerParams(), setup, BaseModelFacts(Path("base"), architecture, shapes), 8192, 1)
    assert 5.5 < needed.weights / 2**30 < 6.5
    assert needed.adapter == 71_565_312 * 8
    assert 15 < needed.total / 2**30 < 25
    require_memory(needed, 40 * 2**30, setup, 8192)
    with pytest.raises(UserError, match=r"at least .* GiB of GPU memory and there is 8\.0 GiB.*flex_attention"):
        require_memory(needed, 8 * 2**30, setup, 8192)


def adapter_gives_the_validation_loss(base: Path, adapter: Path, slices: Path, reported: float) -> None:
    """The mean over the validation slices of each one's mean, by another way than the trainer's."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(adapter)).eval()
    losses = []
    for example in read_examples(slices, ChatTokenizer.from_folder(base), "new", 512).validation:
        logits = tuned(torch.tensor([example.input_ids])).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.labels[1:])).item())
    assert sum(losses) / len(losses) == pytest.approx(reported, rel=1e-5)


def gradients_survive_a_validation(base: Path) -> None:
    facts = read_base_model(base)
    model = load_model(settle(TrainerParams(quantization="nf4"), facts.architecture), facts)
    ids = torch.arange(8, 40).unsqueeze(0)

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=embedded, labels=ids).loss.backward()
        assert isinstance(embedded.grad, torch.Tensor)
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.train(False)(ids)
    assert before.abs().max() > 0
    assert torch.equal(gradient(), before)
