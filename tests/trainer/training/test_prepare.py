"""What the trainer says of the settings it has resolved."""

from __future__ import annotations

from tuneline.data.training import TrainingSetup
from tuneline_trainer.model.base_model import Architecture
from tuneline_trainer.stage import TrainerParams
from tuneline_trainer.training.prepare import told


def test_what_was_asked_what_it_became_and_what_the_model_imposes_are_told() -> None:
    model = Architecture(
        model_type="gemma2", hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, vocab_size=300, attn_logit_softcapping=50.0,
    )  # fmt: skip
    setup = TrainingSetup(
        device="cuda", dtype="bf16", quantization="nf4", attention="flex_attention", max_length=512, threads=2,
        libraries={},
    )  # fmt: skip
    assert told(TrainerParams(dtype="bf16"), setup, model, "slices", 2) == {
        "dtype": "bf16",
        "quantization": "nf4 (asked: auto)",
        "attention": "flex_attention (asked: auto)",
        "batching": "slices (asked: auto)",
        "max_length": "512 (asked: 8192)",
        "processes": "2 (asked: auto)",
        "inherited": "context of 512 tokens, soft-capped scores",
        "loss": "head in chunks of tokens",
    }
