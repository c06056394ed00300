from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from kit.comparing import make_run
from kit.judge_parts import RUBRIC
from tuneline.commands.results.gate import decide_run
from tuneline.commands.stage import apply_gate
from tuneline.commands.tuneline import app
from tuneline.errors import UserError
from tuneline.stage.policy import Gate
from tuneline.store.base import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_the_verdict_must_be_what_the_policy_asks_for(store: Store, tmp_path: Path) -> None:
    for outcome, require, passed in (
        ("better", "better", True), ("not worse", "better", False), ("not worse", "not worse", True),
        ("better", "not worse", True), ("inconclusive", "not worse", False), ("withheld", "not worse", False),
        ("worse", None, True),
    ):  # fmt: skip
        name = f"{outcome}-{require}".replace(" ", "-").lower()
        make_run(tmp_path, store, name, outcome=outcome)
        assert decide_run(store, name, Gate.model_validate({"require": require})).passed == passed, name


def test_one_new_failure_of_a_critical_criterion_says_no_and_an_advisory_one_only_warns(
    store: Store, tmp_path: Path
) -> None:
    make_run(tmp_path, store, "demo", fails={"SA1": [3], "GU1": [7, 8], "LI1": list(range(10))})
    for policy, passed in (
        (Gate(critical=("SA1",)), False),
        (Gate(critical=("GU1",)), True),  # its base failed with as many
        (Gate(supporting=("SA1",)), True),  # one of twelve is chance
        (Gate(supporting=("LI1",)), False),
        (Gate(advisory=("LI1",)), True),
    ):
        decision = decide_run(store, "demo", policy)
        assert decision.passed == passed, policy
    assert "  advisory    LI1  warns: -83.3 points, p = 0.00195" in list(decision.lines())


def test_a_criterion_that_nobody_was_judged_by_is_refused(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "demo")
    with pytest.raises(UserError, match="gate: SA9: no conversation was judged by it"):
        decide_run(store, "demo", Gate(critical=("SA9",)))


def test_a_criterion_that_applied_to_no_conversation_says_no_where_it_is_critical(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "demo")  # its rubric has SA2, too
    for role, passed in (("critical", False), ("supporting", True), ("advisory", True)):
        decision = decide_run(store, "demo", Gate.model_validate({role: ["SA2"]}))
        assert (decision.passed, decision.rulings[-1].text) == (passed, "it applied to no conversation of both arms")


def test_a_run_whose_policy_says_no_ends_with_3_each_time_and_its_results_are_there(
    store: Store, tmp_path: Path
) -> None:
    for _ in range(2):
        run_file = make_run(tmp_path, store, "demo", outcome="worse", gate={"require": "not worse"})
        with pytest.raises(typer.Exit) as ended:
            apply_gate(run_file, store)
        assert ended.value.exit_code == 3


def test_a_policy_is_checked_before_anything_is_made(tmp_path: Path) -> None:
    def check(**gate: object) -> str:
        content = {
            "inputs": {"transcripts": "t.jsonl", "rubric": RUBRIC, "judge": {"provider": "heuristic"}}, "gate": gate,
        }  # fmt: skip
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
        done = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
        assert done.exit_code == 2
        return done.output

    said = check(critical=["NOPE"])
    assert "gate" in said
    assert "the rubric has no NOPE; it has" in said
    assert "gate.require" in check(require="best")
    assert "gate.crtical" in check(crtical=[])
    assert "named twice: A" in check(critical=["A"], advisory=["A"])
