from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from kit.judge_parts import RUBRIC, write_transcripts
from kit.judging import perfect
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from kit.support import run_stage
from tuneline.commands.tuneline import app
from tuneline_assessor.stage import STAGE


def check(folder: Path, *words: object) -> Result:
    return CliRunner().invoke(app, ["judge-check", *map(str, words), "--store", str(folder / "store")])


def judged_run(folder: Path, judge: dict[str, Any], count: int = 8) -> Path:
    """Judge a small set; return the run file."""
    inputs = {"transcripts": write_transcripts(folder / "t.jsonl", count), "rubric": RUBRIC, "judge": judge}
    run_stage(STAGE, folder, inputs=inputs, run="small")
    return folder / "run.yaml"


def labels(folder: Path, polite: str = "YNYNYNYN") -> Path:
    word = {"Y": "YES", "N": "NO"}
    rows = [f"talk-{number:03},{word[letter]},YES" for number, letter in enumerate(polite)]
    (folder / "labels.csv").write_text("\n".join(["id,POLITE,SAFE", *rows]))
    return folder / "labels.csv"


def figures_in(path: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(path.read_text())
    return {figures["kind"]: {row["criterion"]: row for row in figures["rows"]} for figures in found["figures"]}


def test_a_run_is_compared_with_what_people_said(tmp_path: Path) -> None:
    judged_run(tmp_path, {"provider": "heuristic"})
    done = check(tmp_path, "small", "--labels", labels(tmp_path, "YNYNYNYY"), "--json", tmp_path / "found.json")
    assert done.exit_code == 0, done.output
    assert "Judge: heuristic (offline, for demonstration), family rules" in done.output
    assert "8 judged transcripts, 8 of them with labels" in done.output
    rows = figures_in(tmp_path / "found.json")["labels"]
    assert (rows["POLITE"]["accuracy"], rows["POLITE"]["kappa"]) == (7 / 8, 0.75)
    assert (rows["POLITE"]["stricter"], rows["POLITE"]["milder"]) == (1, 0)
    assert (rows["SAFE"]["accuracy"], rows["SAFE"]["kappa"]) == (1.0, None)
    assert rows["ASKS"]["answers"] == 0 and rows["all"]["answers"] == 16
    [line] = [line for line in done.output.splitlines() if "POLITE" in line]
    assert line.split()[:3] == ["POLITE", "8", "88%"] and "0.75 (" in line


def test_a_file_of_verdicts_is_compared_without_a_run(tmp_path: Path) -> None:
    judged_run(tmp_path, {"provider": "heuristic"})
    verdicts = next((tmp_path / "store" / "results").rglob("verdicts.jsonl"))
    done = check(tmp_path, verdicts, "--labels", labels(tmp_path))
    assert done.exit_code == 0 and "100%" in done.output


def test_a_run_file_lets_the_judge_be_asked_once_more_outside_its_journal(tmp_path: Path) -> None:
    def moody(call: Call) -> Answer:
        first = next(iter(call.schema["properties"]))
        answer = "NO" if call.body.get("seed") or first != "POLITE" else "YES"
        return completion(judged(call, POLITE={"reason": "In exchange 1.", "answer": answer}))

    with serve_openai(moody) as server, serve_openai(perfect) as other:
        file = judged_run(tmp_path, {"provider": "openai", "model": "gpt-m", "base_url": server.url})
        judge = {"provider": "openai", "model": "claude-m", "base_url": other.url}
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(judge))
        more = ("--retest", 3, "--order", 4, "--second", tmp_path / "other.yaml", "--json", tmp_path / "found.json")
        done = check(tmp_path, file, "--labels", labels(tmp_path), *more)
        assert done.exit_code == 0, done.output
        assert [len(server.calls), len(other.calls)] == [8 + 3 + 4, 8]
    rows = figures_in(tmp_path / "found.json")
    assert list(rows) == ["labels", "retest", "order", "second judge", "second judge, labels", "stricter, labels"]
    assert (rows["retest"]["POLITE"]["accuracy"], rows["retest"]["SAFE"]["accuracy"]) == (0.0, 1.0)
    assert rows["order"]["POLITE"]["accuracy"] == 0.0
    assert rows["second judge"]["all"]["accuracy"] == 1.0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["judges"][0]["family"], found["second"]["family"]) == ("openai", "anthropic")
    assert found["spent"]["calls"] == 15 and "15 calls were made" in done.output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("small",), "Nothing to compare with"),
        (("small", "--retest", 2), "name the run file"),
        (("other", "--labels", "labels.csv"), "no run other"),
        (("small", "--labels", "none.csv"), "none.csv cannot be read"),
    ],
)
def test_a_check_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    labels(tmp_path)
    judged_run(tmp_path, {"provider": "heuristic"})
    done = check(tmp_path, *words)
    assert done.exit_code == 2 and problem in done.output
