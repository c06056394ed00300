"""What is planned for the generator, beside what scripted servers are then asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kit.evaluator_parts import persona_row
from kit.generating import calls_of, good, is_response, make, run_file, serve_writer, write_run
from kit.judge_parts import RUBRIC
from kit.scripted_openai import Call, completion, judged, serve_openai
from tuneline.commands.plan import plan_of
from tuneline.engine.runfile import read_run_file
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

PRICES = {"input_usd": 1, "output_usd": 2}


def planned(file: Path, store: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What is planned, by step and role."""
    plan = plan_of(read_run_file(file, installed_stages()), open_store(str(store)))
    assert not plan.findings.problems
    rows: Any = plan.json["calls"]
    return {(row["stage"], row["role"]): row for row in rows}


def test_pilot_and_whole_are_planned_and_take_as_many_calls_as_that(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with serve_writer() as server:
        file = run_file(tmp_path, server.url, prices=PRICES)
        rows = planned(file, store)
        assert {key: row["calls"] for key, row in rows.items()} == {
            ("generator@pilot", "generator"): 20 * 2 + 7, ("generator", "generator"): 13 * 2
        }  # fmt: skip
        assert all(row["left_calls"] == row["calls"] and row["usd"] > 0 for row in rows.values())
        pilot = make(file, store, pilot=True)
        assert pilot and len(calls_of(server)) == rows["generator@pilot", "generator"]["calls"]
        assert planned(file, store)["generator", "generator"]["left_calls"] == 13 * 2
        make(file, store)
        assert len(calls_of(server)) == sum(row["calls"] for row in rows.values())
        after = planned(file, store)
        assert sum(row["left_calls"] for row in after.values()) == 0


def test_a_pilot_that_keeps_half_makes_the_whole_twice_as_large(tmp_path: Path) -> None:
    def half(call: Call) -> str:
        return "" if is_response(call) and int(call.body.get("seed", 0)) % 2 else good(call)

    with serve_writer(half) as server:
        file = run_file(tmp_path, server.url, prices=PRICES, count=100)
        before = planned(file, tmp_path / "store")["generator", "generator"]["calls"]
        pilot = make(file, tmp_path / "store", pilot=True)
        assert pilot
        items = pilot.metrics.counts["projected_items"]
        assert isinstance(items, int) and items > 150
        assert planned(file, tmp_path / "store")["generator", "generator"]["left_calls"] == 2 * (items - 20)
        assert before == 2 * (110 - 20)


DOCUMENTS = {"kind": "documents", "categories": [{"name": "law", "about": "Courts."}], "test_prompts": 0}
TALKS = {"kind": "conversations", "turns": 3}
SCRIPTS = {"kind": "scripts"}


@pytest.mark.parametrize(
    ("recipe", "beside", "calls"),
    [
        (DOCUMENTS, {}, {"generator": 4 + 20 + 20, "judge": 20}),
        (
            TALKS, {"personas": {"personas": [persona_row(0)]}, "simulator": {"provider": "openai", "model": "s"}},
            {"generator": 60, "simulator": 60, "judge": 20},
        ),
        (SCRIPTS, {"script_sources": "sources"}, {"generator": 20, "judge": 20}),
    ],
)  # fmt: skip
def test_each_recipe_says_what_its_models_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any], beside: Mapping[str, Any],
    calls: dict[str, int],
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "a.txt").write_text("Snails like lettuce. " * 20)
    with serve_openai(lambda call: completion(judged(call))) as server:
        model = {"provider": "openai", "model": "m", "base_url": server.url, **PRICES}
        inputs = {
            "recipe": recipe, "writer": model, "judge": model, "rubric": RUBRIC, "critic": {"provider": "judge"},
            **beside,
        }  # fmt: skip
        rows = planned(write_run(tmp_path, inputs, count=30, pilot=20), tmp_path / "store")
        assert not server.calls
    assert {role: row["calls"] for (step, role), row in rows.items() if step == "generator@pilot"} == calls
    whole = {role: row["calls"] for (step, role), row in rows.items() if step == "generator"}
    assert whole.keys() == calls.keys() and whole["judge"] == 13


def test_a_model_that_is_served_here_is_nothing_to_pay_for(tmp_path: Path) -> None:
    (tmp_path / "w.gguf").write_bytes(b"GGUF")
    recipe = {
        "kind": "instructions", "format": "chat", "categories": ["a"], "test_prompts": 5,
        "examples": [{"instruction": f"Say {n}.", "response": "So."} for n in range(8)],
    }  # fmt: skip
    inputs = {"recipe": recipe, "writer": {"provider": "llama-server"}, "writer_model": str(tmp_path / "w.gguf")}
    plan = plan_of(read_run_file(write_run(tmp_path, inputs), installed_stages()), open_store(str(tmp_path / "store")))
    assert plan.json["calls"] == []
