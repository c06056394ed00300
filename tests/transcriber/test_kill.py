"""Transcribing that is killed with -9 at any moment: the same command goes on, and little is heard twice."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from kit.commands import command
from kit.kills import killed_at_random, lost_by
from kit.scripted_openai import Answer, Call, serve_openai
from kit.sounds import RATE
from kit.speech import SENTENCES, make, output, run_file, speak, write_wave

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


def keys_in(store: Path) -> list[str]:
    """Return the key of every row that the store's journals hold."""
    segments = [path.read_text() for path in store.glob("journals/**/*.jsonl")]
    return [json.loads(line)["key"] for segment in segments for line in segment.splitlines()]


def killed_once_kept(rows: int, words: list[str], store: Path) -> None:
    """Start it and kill it in the chunk after which so many are kept."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while process.poll() is None and len(keys_in(store)) < rows:
            time.sleep(0.02)
    finally:
        process.kill()
        _, said = process.communicate()
    assert process.returncode == -9, said.decode()


@pytest.mark.slow
def test_whisper_killed_in_three_chunks_goes_on_behind_them_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    speak(SENTENCES * 4, tmp_path / "references" / "talk.wav")
    (tmp_path / "references" / "talk.txt").write_text("A document.")
    store = tmp_path / "store"
    reference = make(run_file(tmp_path, chunk_seconds=10, threads=1), tmp_path / "expected")
    file = run_file(tmp_path, chunk_seconds=10, threads=2)  # of which nothing depends
    chunks = sorted(keys_in(tmp_path / "expected"))
    assert len(chunks) >= 5
    kept = set[str]()
    for rows in (1, 2, 4):
        killed_once_kept(rows, command("transcriber", file, store), store)
        assert kept <= {*keys_in(store)} and len(keys_in(store)) >= rows
        kept = {*keys_in(store)}
    made = make(file, store)
    assert sorted(keys_in(store)) == chunks  # nothing that was kept is heard again
    for name in ("pairs.jsonl", "talks.jsonl"):
        assert output(store, made, name).read_bytes() == output(tmp_path / "expected", reference, name).read_bytes()


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
