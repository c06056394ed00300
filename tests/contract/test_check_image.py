"""The check of all stages runs in the assessor's image, which has the packages of requirements/assessor.txt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.images import not_in_image
from kit.places import EXAMPLES
from kit.workflow_parameters import as_parameters

WITHOUT = "import sys; sys.modules.update(dict.fromkeys({absent!r})); sys.argv = ['tuneline', 'check']; {run}"
RUN = "from tuneline.commands.tuneline import main; main()"


def absent() -> list[str]:
    """The modules of this environment that the image lacks."""
    missing = sorted(not_in_image("assessor"))
    assert {"torch", "transformers", "tiktoken", "peft", "scipy", "safetensors"} <= set(missing)
    return missing


def checked(content: dict[str, Any], *data: Path) -> subprocess.CompletedProcess[str]:
    """Check a run file as the pod does, with data mounted in these folders."""
    environ = os.environ | {
        "RUN_FILE": as_parameters(yaml.safe_dump(content)), "WORKFLOW": "w", "TUNELINE_DATA": ":".join(map(str, data))
    }  # fmt: skip
    script = WITHOUT.format(absent=absent(), run=RUN)
    return subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_check_of_every_stage_needs_no_other_package(tiny_base: Path) -> None:
    content = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
    content["inputs"] = {
        name: str(EXAMPLES / value) if isinstance(value, str) else value for name, value in content["inputs"].items()
    } | {"base_model": str(tiny_base)}
    done = checked(content, EXAMPLES, tiny_base)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^[a-z-]+(?=: )", done.stdout, re.MULTILINE)[:4] == [
        "assessor", "trainer", "gguf-converter", "evaluator"
    ]  # fmt: skip
    assert "RUN_FILE: nothing is wrong that can be known before it runs" in done.stdout


@pytest.mark.slow
def test_recordings_are_checked_where_nothing_reads_sound(tmp_path: Path) -> None:
    weights = [f"whisper/{name}" for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")]
    for name in ("references/talk.wav", *weights):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"RIFF")
    (tmp_path / "references/talk.txt").write_text("What is said.")
    content = yaml.safe_load((EXAMPLES / "calibrate.yaml").read_text())
    content["inputs"] |= {
        "references": str(tmp_path / "references"), "speech_model": str(tmp_path / "whisper"),
        "prompt": str(EXAMPLES / "talks-prompt.txt"),
    }  # fmt: skip
    done = checked(content, EXAMPLES, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "transcriber: 1 of 1 references are whole\n" in done.stdout
