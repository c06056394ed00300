"""`tuneline compare`, over runs whose evaluations are made up and whose records are real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kit.comparing import make_run
from tuneline.commands.tuneline import app
from tuneline.store.base import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def compare(store: Store, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["compare", *words, "--store", store.uri])
    return done.exit_code, done.output


def test_two_fine_tunes_of_one_base_are_named_and_paired_and_what_flipped_is_listed(
    store: Store, tmp_path: Path
) -> None:
    make_run(tmp_path, store, "may", fails={"LI1": [0, 1, 2, 3, 4, 5, 6]})
    make_run(tmp_path, store, "june", adapter="two", fails={"SA1": [3]})
    code, said = compare(store, "may", "june")
    assert code == 0
    assert "These are two fine-tunes of one base." in said
    assert said.count("a fine-tune of") == 2
    assert "june is " in said
    assert "12 personas" in said
    assert "SA1  p3/0: YES to NO" in said
    assert said.index("SA1  p3/0") < said.index("LI1  p0/0: NO to YES")
    assert "The base model, the same in both runs, differs by +0.0 points" in said


def test_too_few_personas_decide_nothing_and_the_page_says_so(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may", personas=5, fails={"LI1": [0, 1, 2, 3, 4]})
    make_run(tmp_path, store, "june", personas=5, adapter="two")
    _, said = compare(store, "may", "june")
    assert "june is inconclusive: +33.3 points" in said
    assert "5 personas can decide nothing, however large the difference: it takes 6." in said


def test_a_gate_that_breaks_is_worse_whatever_the_score_and_one_failure_is_named(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may", personas=30, fails={"LI1": list(range(30)), "GU1": list(range(30))})
    make_run(tmp_path, store, "june", personas=30, adapter="two", fails={"SA1": list(range(12))})
    make_run(tmp_path, store, "july", personas=30, adapter="three", fails={"SA1": [3]})
    _, said = compare(store, "may", "june")
    assert "june is worse: +53.3 points" in said
    assert "p < 0.001" in said
    assert "Safety is broken: SA1." in said
    _, said = compare(store, "may", "july")
    assert "july is better" in said
    assert "Only july fails SA1: 1 of 30 personas." in said
    found = json.loads(compare(store, "may", "june", "--json")[1])
    assert [(row["id"], row["outcome"]) for row in found["safety"]] == [("SA1", "broken"), ("SA2", "not shown")]


def test_models_that_lose_conversations_at_different_rates_get_no_verdict(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", refused=6)
    code, said = compare(store, "may", "june")
    assert code == 0
    assert "june is withheld: the models lose conversations at different rates (0 of 12, and 6 of 12)" in said


def test_json_has_every_figure(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", fails={"GU1": list(range(11))})
    code, said = compare(store, "may", "june", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["outcome"] == "worse"
    assert found["score"]["mean_difference"] == pytest.approx(-11 / 36)
    assert len(found["flips"]) == 11
    assert {row["id"]: row["second_failures"] for row in found["criteria"]} == {"LI1": 0, "GU1": 11, "SA1": 0}


@pytest.mark.parametrize("by", ["output of the run", "fetched file"])
def test_a_fine_tune_that_is_given_as_base_is_named_as_one(store: Store, tmp_path: Path, by: str) -> None:
    may = make_run(tmp_path, store, "may")
    model = f"{store.uri}/runs/may/gguf-converter/model"
    if by == "fetched file":
        CliRunner().invoke(app, ["get", "may", "gguf-converter/model", str(tmp_path / "got"), "--store", store.uri])
        model = str(tmp_path / "got" / "model")
    make_run(tmp_path, store, "june", adapter="two", inputs={"base": model})
    make_run(tmp_path, store, "july", adapter="three", inputs={"base": model})
    assert may.run == "may"
    assert "The base arm of june is the fine-tune of may" in compare(store, "may", "june")[1]
    assert "The base arm of july is itself a fine-tune of" in compare(store, "june", "july")[1]


def test_another_rubric_or_judge_is_refused_unless_it_is_asked_for_and_then_said(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", inputs={"rubric": {"name": "S"}, "judge": {"provider": "y"}})
    code, said = compare(store, "may", "june")
    assert code == 2
    assert "have another rubric and another judge" in said
    code, said = compare(store, "may", "june", "--allow-unequal")
    assert code == 0
    assert "The runs have another judge: the difference" in said


def test_other_personas_pair_by_id_with_a_warning_and_prompts_never_pair_with_personas(
    store: Store, tmp_path: Path
) -> None:
    make_run(tmp_path, store, "may", personas=12)
    make_run(tmp_path, store, "june", adapter="two", personas=8, inputs={"personas": {"p": 2}})
    make_run(tmp_path, store, "july", adapter="two", inputs={"personas": None, "prompts": {"p": 2}})
    _, said = compare(store, "may", "june")
    assert "The personas are not the same file" in said
    assert "4 personas of may have no scored partner" in said
    code, said = compare(store, "may", "july")
    assert code == 2
    assert "nothing pairs up" in said


def test_a_policy_that_says_no_ends_with_3_and_one_that_says_yes_with_0(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", fails={"SA1": [3]})
    for critical, expected, word in (["SA1"], 3, "no"), (["LI1"], 0, "yes"):
        policy = make_run(tmp_path / word, store, word, gate={"require": None, "critical": critical})
        code, said = compare(store, "may", "june", "--gate", write_plain(tmp_path, policy.source.content))
        assert code == expected, said
        assert f"Gate: {word}" in said


def write_plain(folder: Path, content: object) -> str:
    """Write a run file of the real stages with the policy of another one."""
    assert isinstance(content, dict)
    (folder / "policy.yaml").write_text(yaml.safe_dump({"gate": content["gate"], "inputs": {"transcripts": "t.jsonl"}}))
    return str(folder / "policy.yaml")


def test_all_runs_stand_in_a_table_oldest_first_and_a_new_measure_is_said(store: Store, tmp_path: Path) -> None:
    assert "No run of this store was evaluated yet." in compare(store, "--all")[1]
    make_run(tmp_path, store, "may")
    make_run(tmp_path, store, "june", adapter="two", outcome="worse", inputs={"rubric": {"name": "S"}})
    code, said = compare(store, "--all")
    assert code == 0
    rows = [line for line in said.splitlines() if line.startswith(("may", "june"))]
    assert all(" <0.001 " in row for row in rows)
    assert [row.split()[-1] for row in rows] in (["better", "worse"], ["worse", "better"])
    assert "from here on another rubric" in said
    assert {row["run"] for row in json.loads(compare(store, "--all", "--json")[1])} == {"may", "june"}


@pytest.mark.parametrize("words", [(), ("may",), ("may", "june", "july"), ("may", "--all"), ("--all", "--gate", "f")])
def test_what_is_asked_for_wrongly_is_refused(store: Store, words: tuple[str, ...]) -> None:
    assert compare(store, *words)[0] == 2
