"""What a training has loaded before it begins."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from importlib.util import find_spec
from tuneline_trainer.imports import SPARED, spared
with spared(sys.argv[1]):
    import tuneline_trainer.train
print(sorted({*SPARED} & {*sys.modules}), all(map(find_spec, SPARED)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("quantization", "loaded"), [("none", []), ("nf4", ["bitsandbytes", "boto3", "scipy"])])
def test_only_a_training_in_four_bits_loads_what_those_take(quantization: str, loaded: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, quantization], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == f"{loaded} True", "what was spared is there for whoever asks later"
