"""What is planned for writer and judge, and what the same calibration takes on a server that bills."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kit.calibrating import PROMPT, TALK, make, run_file
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.commands.plan import RunPlan, plan_of
from tuneline.engine.checks import Where, check_run
from tuneline.engine.runfile import read_run_file
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

NAMES = ("ash", "elm", "fir", "oak")


def billed(call: Call) -> Answer:
    """An answer of the usual length, and a token for each 4.2 bytes."""
    if "response_format" not in call.body:
        text = f"{' '.join(TALK)} {call.number}"
    else:
        shape, said = call.schema["properties"], dict[str, Any]()
        if "kinds" in shape:
            said = {"kinds": ["method", *["example"] * shape["kinds"]["minItems"]][: shape["kinds"]["minItems"]]}
        elif "concepts" in shape:
            when = "the talk says how a damper hangs below the deck and takes the energy of the wind out of the swing"
            said = {"concepts": [{"name": f"Damper below the deck {n}", "explained_if": when} for n in range(5)]}
        elif "explained" in shape:
            said = {"explained": ["c1", "c2", "c3", "c4"]}
        elif "engagement" in shape:
            reason = "It begins with a question and goes on step by step. " * 4
            said = {"reason": reason, "engagement": call.number * 2 // 3, "clarity": 70, "accuracy": 95}
        else:
            change = "asks for a question at the beginning, and for the order that the talks have in common " * 4
            said = {"changes": [{"loss": "quality", "change": change}], "prompt": f"{PROMPT}\nHint {call.number}."}
        text = json.dumps(said)
    sent = round(len(call.prompt.encode()) / 4.2)
    return completion(text, input_tokens=sent, output_tokens=round(len(text.encode()) / 4.2))


def planned(file: Path, store: Path) -> RunPlan:
    return plan_of(read_run_file(file, installed_stages()), open_store(str(store)))


def test_a_plan_is_within_a_fifth_of_what_is_paid_if_every_trial_is_needed(tmp_path: Path) -> None:
    with serve_openai(billed) as server:
        model = {"provider": "openai", "base_url": server.url, "input_usd": 1.0, "output_usd": 5.0}
        models = {"writer": model | {"model": "w"}, "judge": model | {"model": "j"}}
        params = {"max_trials": 4, "min_improvement": 0, "max_concepts": 5, "repeats": 2}
        file = run_file(tmp_path, "", models, NAMES, **params)
        (tmp_path / "sources" / "fir.txt").write_text((tmp_path / "sources" / "ash.txt").read_text())
        plan = planned(file, tmp_path / "store")
        assert not server.calls and not (tmp_path / "store").exists()
        cost = make(file, tmp_path / "store").metrics.cost
    rows: Any = plan.json["calls"]
    assert [(row["role"], row["calls"]) for row in rows] == [("writer", 27), ("judge", 89)]
    for row, spent in zip(rows, sorted(cost.rows, key=lambda row: row.role, reverse=True), strict=True):
        assert row["calls"] == spent.total.calls and row["usd"] == pytest.approx(spent.total.cost_usd, rel=0.2)
    assert any("3 pairs, at most 4 trials" in line for line in plan.lines)


def found(file: Path, *, online: bool = False) -> Any:
    run = read_run_file(file, installed_stages())
    with tempfile.TemporaryDirectory() as folder:
        return check_run(run, open_store(str(file.parent / "store")), Where(Path(folder), ours=True, online=online))


def test_what_stands_in_the_way_of_a_calibration_is_said_before_it_begins(tmp_path: Path) -> None:
    far = {"provider": "openai", "model": "m", "base_url": "http://models.example.com/v1", "max_tokens": 20}
    file = run_file(tmp_path, "", {"writer": far, "judge": {"provider": "anthropic", "model": "m"}}, repeats=3)
    file.write_text(f"{file.read_text()}max_usd: 5\n")
    said = (tmp_path / "talks.jsonl").read_text().splitlines()
    long = json.loads(said[0])
    long["segments"][-1]["text"] *= 40
    (tmp_path / "talks.jsonl").write_text("\n".join([json.dumps(long), *said[1:]]) + "\n")
    findings = found(file)
    assert any("inputs.writer: the price of m is not known" in one for one in findings.problems)
    assert any("inputs.judge: " in one and "ANTHROPIC_API_KEY" in one for one in findings.problems)
    assert any("the longest talk has about" in one and "`max_tokens` (20)" in one for one in findings.warnings)
    assert any(
        "inputs.talks: the talks have " in one and "one prompt is to fit all" in one for one in findings.warnings
    )
    assert any("calibrator.repeats: a writer of temperature 0" in one for one in findings.warnings)


def test_writer_and_judge_are_asked_one_question_each_if_they_may_be(tmp_path: Path) -> None:
    with serve_openai(billed) as server:
        model = {"provider": "openai", "model": "m", "base_url": server.url}
        file = run_file(tmp_path, server.url, {"judge": model})
        said = found(file, online=True)
        assert not said.problems and len(server.calls) == 2
        assert any("the judge m answers as its questions want it" in one for one in said.notes)
        server.script = lambda call: completion("I would rather not.")
        [problem] = found(file, online=True).problems
        assert "inputs.judge: m was asked one question, and its answer is unparsed" in problem
