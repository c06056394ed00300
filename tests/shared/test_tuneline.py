"""The public face for scripts and notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tuneline
from kit.comparing import make_run
from kit.support import alone
from kit.toys import COUNTER
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.store.base import Store, open_store


def test_what_is_public_is_named_and_there() -> None:
    assert tuneline.__all__ == ["Run", "__version__", "open_run"]
    assert all(hasattr(tuneline, name) for name in tuneline.__all__)
    assert tuneline.__version__.count(".") == 2


def test_importing_it_imports_nothing_else() -> None:
    script = "import sys; before = set(sys.modules); import tuneline; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {"tuneline", "__future__"}


def test_a_run_is_opened_looked_at_and_fetched_from(tmp_path: Path) -> None:
    run_file, store = alone(COUNTER, tmp_path, {"words": ["one"]}, {}, "r"), open_store(str(tmp_path / "store"))
    with new_job(run_file, run_file.step("counter"), store) as job:
        manifest = run_job(job).manifest
    run = tuneline.open_run("r", str(tmp_path / "store"))
    assert run.results == {"counter": manifest}
    assert run.fetch("counter/counts", tmp_path / "dest").read_text() == '["one"] 7\n'
    with pytest.raises(UserError, match="no run other in"):
        tuneline.open_run("other", str(tmp_path / "store"))


def test_an_evaluated_run_has_typed_rows_and_frames_from_either_kind_of_store(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", fails={"SA1": [3]})
    may, june = tuneline.open_run("may", store.uri), tuneline.open_run("june", store.uri)
    assert len(june.verdicts) == 24
    assert {row.persona for row in june.verdicts if row.answers["SA1"] == "NO"} == {"p3"}
    assert june.conversations[:1][0].messages[0].content == "Is the tray empty?"
    assert june.comparison[0].kind == "score"
    frame = june.verdicts.to_pandas()
    assert list(frame.columns[-4:]) == ["conversation", "arm", "persona", "trial"]
    assert frame.groupby("arm")["score"].mean().round(3).to_dict() == {"base": 0.944, "finetuned": 0.972}
    assert set(june.comparison.to_pandas()["kind"]) == {"score", "category", "criterion", "gate", "persona"}
    assert may.compare(june).score.mean_difference == pytest.approx(-1 / 36)
    with pytest.raises(UserError, match=r"run june has no result of slicer yet; it has .*gguf-converter"):
        assert june.slices


def test_frames_need_pandas_and_rows_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    make_run(tmp_path, store, "may")
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = tuneline.open_run("may", store.uri).verdicts
    assert rows[0].status == "scored"
    with pytest.raises(UserError, match="pip install pandas"):
        rows.to_pandas()
