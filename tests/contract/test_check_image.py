"""The check of all stages runs in the assessor's image, which has the packages of requirements/assessor.txt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from kit.places import EXAMPLES, ROOT
from kit.workflow_parameters import as_parameters

WITHOUT = "import sys; sys.modules.update(dict.fromkeys({absent!r})); sys.argv = ['tuneline', 'check']; {run}"
RUN = "from tuneline.commands.tuneline import main; main()"


def absent() -> list[str]:
    """The modules of this environment that the image lacks."""
    pinned = set(
        re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements/assessor.txt").read_text(), re.MULTILINE)
    )
    missing = []
    for module, packages in packages_distributions().items():
        names = {re.sub(r"[-_.]+", "-", package).lower() for package in packages}
        if not names & pinned and not any(name.startswith("tuneline") for name in names):
            missing.append(module)
    assert {"torch", "transformers", "tiktoken", "datasketch", "scipy", "safetensors"} <= set(missing)
    return missing


@pytest.mark.slow
def test_the_check_of_every_stage_needs_no_other_package(tiny_base: Path) -> None:
    content = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
    content["inputs"] = {
        name: str(EXAMPLES / value) if isinstance(value, str) else value for name, value in content["inputs"].items()
    } | {"base_model": str(tiny_base)}
    environ = os.environ | {
        "RUN_FILE": as_parameters(yaml.safe_dump(content)), "WORKFLOW": "w", "TUNELINE_DATA": f"{EXAMPLES}:{tiny_base}"
    }  # fmt: skip
    script = WITHOUT.format(absent=absent(), run=RUN)
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^[a-z-]+(?=: )", done.stdout, re.MULTILINE)[:4] == [
        "assessor", "gguf-converter", "trainer", "evaluator"
    ]  # fmt: skip
    assert "RUN_FILE: nothing is wrong that can be known before it runs" in done.stdout
