"""The assessor as its own process, to be killed or stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from kit.judge_parts import RUBRIC, write_transcripts

TUNELINE_ASSESSOR = Path(sys.executable).with_name("tuneline-assessor")


def process(folder: Path, judge: dict[str, Any], count: int, concurrency: int) -> subprocess.Popen[str]:
    """Start the stage as its own process."""
    folder.mkdir(exist_ok=True)
    content = {
        "inputs": {
            "transcripts": str(write_transcripts(folder / "transcripts.jsonl", count)),
            "rubric": RUBRIC,
            "judge": judge,
        },
        "goal": "assessor",
        "assessor": {"concurrency": concurrency},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    command = [str(TUNELINE_ASSESSOR), "run", "--file", str(folder / "run.yaml"), "--store", str(folder / "store")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def output(folder: Path, name: str) -> bytes:
    """Return the output that the stage has made."""
    [found] = (folder / "store" / "results" / "assessor").rglob(name)
    return found.read_bytes()
