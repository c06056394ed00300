"""What llama.cpp makes of models whose files say less than the merged model is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from kit.families import write_family
from kit.support import Done, run_stage
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.stage import STAGE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("families")]

SETTINGS = {
    "quantizations": ["F16"], "merge_dtype": "f16", "min_top1_agreement": 0.1, "threads": 1, "check_conversations": 1,
    "check_positions": 8, "check_tokens": 64,
}  # fmt: skip
WITHOUT_BEGINNING = """\
{%- for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""


def convert(folder: Path, variant: str | None = None, **inputs: Path) -> tuple[Done, dict[str, Any]]:
    done = run_stage(STAGE, folder, inputs=inputs, params=SETTINGS, variant=variant)
    facts: dict[str, Any] = json.loads(done.paths["gguf"].read_text())
    return done, facts


def write_whole(base: Path, folder: Path, *names: str) -> Path:
    """Write an adapter that PEFT trained these modules with as a whole, with random numbers in them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = ["qkv_proj"] if model.config.model_type == "phi3" else ["q_proj"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=targets, modules_to_save=list(names)))
        torch.manual_seed(5)
        for name, weight in adapted.named_parameters():
            if weight.requires_grad and "lora_" not in name:
                weight.data = torch.randn_like(weight) * 0.02
        adapted.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("family", ["Llama 3.2", "Qwen 2.5", "Qwen 3", "SmolLM 3", "Phi 3.5"])
def test_a_model_that_was_untied_reads_tokens_with_one_weight_and_says_them_with_another(
    family: str, slices: Path, tmp_path: Path
) -> None:
    """The merged model is computed by transformers, the file by llama.cpp: they agree only if both have both."""
    from gguf import GGUFReader

    base = write_family(tmp_path / "base", family, tie_word_embeddings=True)
    adapter = write_whole(base, tmp_path / "adapter", "embed_tokens", "lm_head")
    done, facts = convert(tmp_path, base_model=base, adapter=adapter, slices=slices)
    assert facts["fidelity"][0]["top1"]["value"] > 0.9
    names = {tensor.name for tensor in GGUFReader(done.paths["model"] / facts["file"]).tensors}
    assert names >= {"token_embd.weight", "output.weight"}


def test_no_token_comes_before_a_text_where_the_template_that_was_learnt_writes_none(
    given: dict[str, Path], tmp_path: Path
) -> None:
    """Llama's tokenizer puts one there by itself, which many templates for it leave out."""
    base = write_family(tmp_path / "base", "Llama 3.2")
    template = tmp_path / "template.jinja"
    template.write_text(WITHOUT_BEGINNING)
    done, facts = convert(tmp_path / "given", "base", **given | {"base_model": base, "chat_template": template})
    assert read_header(done.paths["model"] / facts["file"]).metadata["tokenizer.ggml.add_bos_token"] is False
    assert {check["name"] for check in facts["checks"] if check["passed"]} >= {"token_ids", "end_of_turn"}
