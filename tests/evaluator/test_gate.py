"""The policy of a run file, applied by the command line to a comparison that the real evaluator made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import tuneline
from evaluator.test_recorded_comparison import study
from tuneline.commands.tuneline import app


@pytest.mark.slow
def test_a_run_that_a_policy_says_no_to_is_whole_and_ends_with_3_now_and_later(tmp_path: Path) -> None:
    given = {name: str(value) if isinstance(value, Path) else value for name, value in study(tmp_path).items()}

    def run(**gate: Any) -> tuple[int, str]:
        content = {"run": "study", "goal": "evaluator", "inputs": given, "gate": gate}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        done = CliRunner().invoke(app, ["run", str(tmp_path / "study.yaml"), "--store", str(tmp_path / "store")])
        return done.exit_code, done.output

    code, said = run(require=None, critical=["SAFE1"])
    assert code == 3, said
    assert "critical    SAFE1  says no: failed with 0 of 5 personas before, 1 now" in said
    assert "evaluator failed" not in said
    assert "Verdict: inconclusive" in said
    code, said = run(critical=["SAFE1"])
    assert (code, "Nothing to do" in said) == (3, True)
    assert "verdict     inconclusive  says no: the policy asks for not worse" in said
    assert run(require=None, supporting=["A1"], advisory=["SAFE1"])[0] == 0

    opened = tuneline.open_run("study", str(tmp_path / "store"))
    assert len(opened.verdicts) == len(opened.conversations) == 10
    assert opened.verdicts[0].answers["F1"] == "YES"
    assert opened.comparison[0].difference == pytest.approx(0.1246)
