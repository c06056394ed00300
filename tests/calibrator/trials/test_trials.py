"""A trial that loses scripts wins nothing by it, and ends nothing that went well before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.calibrating import PROMPT, answered, make, output_of, references, run_file
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.errors import UserError


def found(call_of: Any, folder: Path, **params: Any) -> dict[str, Any]:
    with serve_openai(call_of) as server:
        file = run_file(folder, server.url, {"judge": {"provider": "heuristic"}}, **params)
        manifest = make(file, folder / "store")
        assert b"scripts left out" in output_of(folder / "store", manifest, "calibrated")
        told: dict[str, Any] = json.loads(output_of(folder / "store", manifest, "calibration"))
        return told


def refusing(call: Call, marked: str) -> Answer:
    """A writer that refuses every script whose prompt says `marked`."""
    if "response_format" not in call.body and marked in call.prompt:
        return completion(None, refusal="No.")
    return answered(call, prompt=f"{PROMPT}\nHint {call.number}.")


def test_an_edit_after_which_no_script_is_written_is_not_taken_and_the_best_before_it_stays(tmp_path: Path) -> None:
    told = found(lambda call: refusing(call, "Hint"), tmp_path, max_trials=3)
    assert [trial["lost"] for trial in told["trials"]] == [0, 3, 3] and told["best"] == 1
    assert [trial["training"]["total"] for trial in told["trials"]][1:] == [1.0, 1.0]
    assert [trial["after"] for trial in told["trials"]] == [0, 1, 1]
    assert told["verdict"]["word"] == "the first prompt" and told["verdict"]["pairs"] == 3


def test_the_only_pair_that_chooses_may_not_be_lost(tmp_path: Path) -> None:
    names = ("ash", "elm", "fir", "oak", "yew", "box")
    given = {port: f"six/{place}" for port, place in references(tmp_path / "six", names).items()}
    with serve_openai(lambda call: refusing(call, "The oak bridge")) as server:
        inputs = given | {"judge": {"provider": "heuristic"}}
        file = run_file(tmp_path, server.url, inputs, held_out=[name for name in names if name != "oak"])
        with pytest.raises(UserError, match=r"trial 1: 1 of 6 scripts .*\(refused\)"):
            make(file, tmp_path / "store")
