"""Transcribing that is killed with -9 at any moment: the same command goes on, and little is heard twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from kit.commands import command
from kit.kills import killed_at_random, lost_by
from kit.scripted_openai import Answer, Call, serve_openai
from kit.sounds import RATE
from kit.speech import make, output, run_file, write_wave

KILLS, RECORDINGS, CHUNKS = 10, 3, 6


def sound_of(call: Call) -> str:
    """Return the hash of the sound that a call holds, without what a form puts around it."""
    at = call.raw.index(b"RIFF")
    size = int.from_bytes(call.raw[at + 4 : at + 8], "little") + 8
    return hashlib.sha256(call.raw[at : at + size]).hexdigest()


def hears(call: Call) -> Answer:
    """Say twelve words that only this sound gives."""
    said = sound_of(call)
    text = " ".join(said[place : place + 5] for place in range(0, 60, 5))
    body = {"text": text, "language": "english", "segments": [{"start": 0.5, "end": 9.0, "text": text}]}
    return Answer(body=json.dumps(body).encode(), latency_s=0.15)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_bytes_and_hears_the_last_second_twice(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-5000, 5000, (RECORDINGS, CHUNKS * 10 * RATE // 2))
    for number, samples in enumerate(noise.tolist()):
        write_wave(tmp_path / "references" / f"{number}.wav", [samples], RATE // 2)
        (tmp_path / "references" / f"{number}.txt").write_text("A document.")
    with serve_openai(hears) as server:
        hosted = {"provider": "openai", "model": "whisper-1", "base_url": server.url}
        file = run_file(tmp_path, hosted, chunk_seconds=10, workers=2)
        reference, store = make(file, tmp_path / "expected"), tmp_path / "store"
        whole = {sound_of(call) for call in server.calls}
        assert len(whole) == len(server.calls) >= RECORDINGS * CHUNKS
        server.calls.clear()
        kills = killed_at_random([command("transcriber", file, store)] * KILLS, server, calls=(0, 6), seed=3)
        made = make(file, store)
        heard = [sound_of(call) for call in server.calls]
    assert {*heard} == whole
    assert 0 <= len(heard) - len(whole) <= lost_by(kills, server)
    for name in ("pairs.jsonl", "talks.jsonl", "transcripts.jsonl", "0.txt"):
        assert output(store, made, name).read_bytes() == output(tmp_path / "expected", reference, name).read_bytes()
