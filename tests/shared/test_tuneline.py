"""The public face for scripts and notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tuneline
from kit.support import alone
from kit.toys import COUNTER
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.store.base import open_store


def test_what_is_public_is_named_and_there() -> None:
    assert tuneline.__all__ == ["Run", "__version__", "open_run"]
    assert all(hasattr(tuneline, name) for name in tuneline.__all__)
    assert tuneline.__version__.count(".") == 2


def test_importing_it_imports_nothing_else() -> None:
    script = "import sys, tuneline; print(*(name for name in sys.modules if name.startswith(('tuneline', 'pydantic'))))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["tuneline"]


def test_a_run_is_opened_looked_at_and_fetched_from(tmp_path: Path) -> None:
    run_file, store = alone(COUNTER, tmp_path, {"words": ["one"]}, {}, "r"), open_store(str(tmp_path / "store"))
    with new_job(run_file, run_file.step("counter"), store) as job:
        manifest = run_job(job).manifest
    run = tuneline.open_run("r", str(tmp_path / "store"))
    assert run.results == {"counter": manifest}
    assert run.fetch("counter/counts", tmp_path / "dest").read_text() == '["one"] 7\n'
    with pytest.raises(UserError, match="no run other in"):
        tuneline.open_run("other", str(tmp_path / "store"))
