"""Two hours of sound take the memory of ten minutes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kit.commands import command
from kit.peak_memory import run_and_weigh
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, serve_openai
from kit.sounds import long_wave
from kit.speech import run_file

MB = 2**20


def hears(call: Call) -> Answer:
    """Say forty words, whatever is heard."""
    return Answer(body=json.dumps({"text": "Sensors see falls and call. " * 8, "language": "english"}).encode())


def peak_of(minutes: int, folder: Path, server: ScriptedOpenAI) -> int:
    """Transcribe so many minutes in a process of its own; return the most memory that it had, in bytes."""
    (folder / "references").mkdir(parents=True)
    (folder / "references" / "talk.txt").write_text("A document.")
    noise = np.random.default_rng(0).integers(96, 160, 8000 * 60).astype(np.uint8).tobytes()
    long_wave(folder / "references" / "talk.wav", noise, minutes)
    hosted = {"provider": "openai", "model": "whisper-1", "base_url": server.url}
    return run_and_weigh(command("transcriber", run_file(folder, hosted, chunk_seconds=60), folder / "store"))


@pytest.mark.slow
def test_two_hours_take_the_memory_of_ten_minutes(tmp_path: Path) -> None:
    with serve_openai(hears) as server:
        short = peak_of(10, tmp_path / "short", server)
        calls = len(server.calls)
        long = peak_of(120, tmp_path / "long", server)
    assert len(server.calls) - calls >= 120
    assert long < short + 60 * MB  # all of its samples have 220 MB
    pairs, *_ = (tmp_path / "long" / "store").rglob("pairs.jsonl")
    assert json.loads(pairs.read_text())["seconds"] == pytest.approx(7200, abs=0.5)
