"""Parts that are killed with -9 at any moment: the same command goes on, and little is paid twice."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from kit.commands import command
from kit.generating import calls_of, make, output_of, run_file, serve_writer
from kit.kills import killed_at_random, lost_by

KILLS = 10


@pytest.mark.slow
def test_parts_killed_at_ten_random_moments_end_in_the_same_bytes_and_pay_the_last_second_twice(tmp_path: Path) -> None:
    with serve_writer(latency_s=0.05) as server:
        file = run_file(tmp_path, server.url, count=120)
        expected, store = tmp_path / "expected", tmp_path / "store"
        make(file, expected, pilot=True)
        reference = make(file, expected)
        make(file, store, pilot=True)
        server.calls.clear()
        parts = [command("generator", file, store, "--part", part) for part in ("1/2", "2/2")]
        kills = killed_at_random(parts * (KILLS // 2), server, calls=(1, 60), seed=7)
        for part in parts:
            subprocess.run(part, check=True, capture_output=True)
        done = len(calls_of(server))
        merged = make(file, store)
        assert len(calls_of(server)) == done, "the merge paid for something"
        assert 0 <= done - len({*calls_of(server)}) <= lost_by(kills, server)
        assert reference and merged
        for port in ("transcripts", "verdicts", "rejected", "prompts"):
            assert output_of(store, merged, port) == output_of(expected, reference, port)


@pytest.mark.slow
def test_a_part_that_is_told_to_stop_keeps_everything_and_says_how_far_it_is(tmp_path: Path) -> None:
    with serve_writer(latency_s=0.05) as server:
        file, store = run_file(tmp_path, server.url, count=100), tmp_path / "store"
        make(file, store, pilot=True)
        server.calls.clear()
        words = command("generator", file, store, "--part", "1/1")
        part = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        while len(server.calls) < 30:
            time.sleep(0.01)
        part.terminate()
        _, said = part.communicate()
        assert part.returncode == os.EX_TEMPFAIL and b"run the same command again" in said
        paid = calls_of(server)
        assert make(file, store) and len(set(calls_of(server))) == len(calls_of(server)) > len(paid)
