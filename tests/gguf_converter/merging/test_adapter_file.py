from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.gguf_parts import SETTINGS, with_config
from kit.support import run_stage
from tuneline.model.gguf_header import read_header
from tuneline_gguf_converter.stage import STAGE

pytestmark = pytest.mark.xdist_group("gguf converter")

BOTH = SETTINGS | {"quantizations": ["BF16"], "adapter_file": True, "min_top1_agreement": 0.8}


@pytest.mark.slow
def test_the_base_model_with_the_adapters_file_says_what_the_merged_model_says(
    given: dict[str, Path], tmp_path: Path
) -> None:
    scaled = with_config(given["adapter"], tmp_path / "adapter", use_rslora=True, alpha_pattern={"q_proj": 9})
    done = run_stage(STAGE, tmp_path / "run", inputs=given | {"adapter": scaled}, params=BOTH)
    found: dict[str, Any] = json.loads(done.paths["gguf"].read_text())
    told = found["adapter"]
    assert told["file"] == "gemma2-3.7M-tuned-v1-F16-LoRA.gguf"
    assert (told["conversations"], told["positions"], told["source"]) == (1, 84, "held-out")
    assert told["top1"]["value"] >= 0.95
    assert told["kl"]["value"] < 0.001
    file = done.paths["model"] / told["file"]
    assert told["bytes"] == file.stat().st_size == found["sizes"][told["file"]]
    assert 20 * told["bytes"] < found["sizes"][found["file"]]  # where real models are 20 times as wide
    about = read_header(file).metadata
    assert (about["general.type"], about["adapter.type"]) == ("adapter", "lora")
    assert about["tuneline.fingerprint"] == done.manifest.fingerprint
    assert about["general.license"] == "apache-2.0"
    assert {path.name for path in done.paths["model"].iterdir()} == found["sizes"].keys()
