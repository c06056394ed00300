"""What a training has loaded before it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.places import ROOT
from trainer.runs import FAST

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


TRAINING = """
import sys
from importlib.util import find_spec
from pathlib import Path
from kit.support import run_stage
from tuneline_trainer.stage import STAGE
folder, slices, base_model = sys.argv[1:4]
run_stage(STAGE, Path(folder), inputs={"slices": slices, "base_model": base_model}, params=eval(sys.argv[4]))
from peft.import_utils import is_bnb_available
print(sorted({"bitsandbytes", "torch._inductor.lowering"} & {*sys.modules}), find_spec("bitsandbytes") is not None)
print(is_bnb_available())
"""


@pytest.mark.slow
def test_a_whole_training_without_four_bits_loads_none_of_what_those_take(
    tmp_path: Path, base: Path, slices: Path
) -> None:
    words = [sys.executable, "-c", TRAINING, str(tmp_path), str(slices), str(base), repr({**FAST, "epochs": 1})]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("tests", "tools"))}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.split("\n")[-3:-1] == ["[] True", "True"], "what was spared is there for whoever asks later"
