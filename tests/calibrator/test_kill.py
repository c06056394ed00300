"""A calibration that is killed with -9 at any moment: the same command goes on, and little is paid twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kit.calibrating import answered, make, output_of, run_file
from kit.commands import command
from kit.kills import killed_at_random, lost_by
from kit.scripted_openai import Answer, Call, serve_openai

KILLS = 10


def slowly(call: Call) -> Answer:
    return replace(answered(call), latency_s=0.06)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_bytes_and_pays_the_last_second_twice(tmp_path: Path) -> None:
    with serve_openai(slowly) as server:
        judge = {"provider": "openai", "model": "judge", "base_url": server.url}
        file = run_file(tmp_path, server.url, {"judge": judge}, max_trials=3, min_improvement=0, concurrency=1)
        reference, store = make(file, tmp_path / "expected"), tmp_path / "store"
        whole = len(server.calls)
        server.calls.clear()
        kills = killed_at_random([command("calibrator", file, store)] * KILLS, server, calls=(0, 8), seed=7)
        made = make(file, store)
        asked = [json.dumps([c.body["model"], c.body["messages"], c.body.get("seed")]) for c in server.calls]
        assert len({*asked}) == whole
        assert 0 <= len(asked) - len({*asked}) <= lost_by(kills, server)
    for port in ("prompt", "trials", "calibration", "profile", "calibrated"):
        assert output_of(store, made, port) == output_of(tmp_path / "expected", reference, port), port
    assert {n: f.sha256 for n, f in made.outputs["scripts"].files.items()} == {
        n: f.sha256 for n, f in reference.outputs["scripts"].files.items()
    }
