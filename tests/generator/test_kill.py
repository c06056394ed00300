"""Parts that are killed with -9 at any moment: the same command goes on, and little is paid twice."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from kit.generating import calls_of, command, make, output_of, run_file, serve_writer
from kit.kills import FLUSH_SECONDS, killed_after
from tuneline.engine.context import BEAT_SECONDS

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
        drawn, kills = random.Random(7), list[float]()
        for number in range(KILLS):
            words = command(file, store, "--part", f"{number % 2 + 1}/2")
            if (at := killed_after(drawn.randint(1, 60), server, words)) is not None:
                kills.append(at)
        for number in (1, 2):
            subprocess.run(command(file, store, "--part", f"{number}/2"), check=True, capture_output=True)
        done = len(calls_of(server))
        merged = make(file, store)
        assert len(calls_of(server)) == done, "the merge paid for something"
        last = BEAT_SECONDS + FLUSH_SECONDS
        lost = sum(any(at - last <= call.at <= at for at in kills) for call in server.calls)
        assert len(kills) >= KILLS / 2
        assert 0 <= done - len({*calls_of(server)}) <= lost
        assert reference and merged
        for port in ("transcripts", "verdicts", "rejected", "prompts"):
            assert output_of(store, merged, port) == output_of(expected, reference, port)


@pytest.mark.slow
def test_a_part_that_is_told_to_stop_keeps_everything_and_says_how_far_it_is(tmp_path: Path) -> None:
    with serve_writer(latency_s=0.05) as server:
        file, store = run_file(tmp_path, server.url, count=100), tmp_path / "store"
        make(file, store, pilot=True)
        server.calls.clear()
        part = subprocess.Popen(command(file, store, "--part", "1/1"), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        while len(server.calls) < 30:
            time.sleep(0.01)
        part.terminate()
        _, said = part.communicate()
        assert part.returncode == os.EX_TEMPFAIL and b"run the same command again" in said
        paid = calls_of(server)
        assert make(file, store) and len(set(calls_of(server))) == len(calls_of(server)) > len(paid)
