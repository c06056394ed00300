"""The prompt is tried on every pair."""

from __future__ import annotations

from pathlib import Path

from kit.calibrating import make, run_file
from kit.scripted_openai import completion, serve_openai


def test_every_source_gets_a_script_and_a_second_run_pays_for_none(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(f"A script of {len(call.prompt)} letters.")) as server:
        file = run_file(tmp_path, server.url)
        manifest = make(file, tmp_path / "store")
        assert manifest.outputs["scripts"].files.keys() == {"1/ash.txt", "1/elm.txt", "1/oak.txt"}
        paid = len(server.calls)
        assert paid == 3 and make(file, tmp_path / "store").metrics == manifest.metrics and len(server.calls) == paid
