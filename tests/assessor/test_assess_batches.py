"""The whole stage with a judge that works by batches, killed and stopped."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from kit.assessor_process import TUNELINE_ASSESSOR, output, process
from kit.judge_parts import CANARY
from kit.scripted_batches import BatchServer
from kit.scripted_openai import Answer, Call, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol

COUNT = 12


@pytest.fixture(params=PROTOCOLS, ids=lambda p: p.provider)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


def server_of(protocol: Protocol) -> BatchServer:
    numbers = itertools.count(1)  # a judge with the same reason for everything is not believed

    def judge(call: Call) -> Answer:
        rows = {
            n: {"reason": f"seen in exchange 1, as point {next(numbers)} says", "answer": "YES"}
            for n in protocol.schema(call)["properties"]
        }
        return protocol.reply(json.dumps(rows))

    return BatchServer(protocol, judge, polls=10**9)


def judge_at(protocol: Protocol, url: str) -> dict[str, Any]:
    prices = {"input_usd": 1.0, "output_usd": 4.0}
    return protocol.config(url, mode="batch", **prices).model_dump(mode="json", exclude_defaults=True)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_finds_its_batch_again_and_pays_once(
    protocol: Protocol, tmp_path: Path
) -> None:
    server = server_of(protocol)
    with serve_openai(server) as served:
        for wait_s in (0.0, 0.5, 2.0):  # the moment it is handed in, before its id is in the store, and after that
            child = process(tmp_path, judge_at(protocol, served.url), COUNT, 4)
            deadline = time.monotonic() + 60
            while not (server.batches and served.calls[-1].at > time.monotonic() - 5) and time.monotonic() < deadline:
                assert child.poll() is None, child.communicate()
                time.sleep(0.01)
            time.sleep(wait_s)
            child.send_signal(signal.SIGKILL)
            child.communicate()
        server.polls = 1
        child = process(tmp_path, judge_at(protocol, served.url), COUNT, 4)
        said, _ = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert (len(server.batches), server.items, server.live) == (1, COUNT, 0)
    rows = [json.loads(line) for line in output(tmp_path, "verdicts.jsonl").splitlines()]
    assert [row["status"] for row in rows] == ["scored"] * COUNT
    assert sum(row["usage"]["calls"] for row in rows) == COUNT


@pytest.mark.slow
def test_a_run_that_is_stopped_says_that_its_batch_goes_on(protocol: Protocol, tmp_path: Path) -> None:
    server = server_of(protocol)
    with serve_openai(server) as served:
        child = process(tmp_path, judge_at(protocol, served.url), COUNT, 4)
        while not server.batches:
            assert child.poll() is None, child.communicate()
            time.sleep(0.05)
        began = time.monotonic()
        child.terminate()
        said, _ = child.communicate(timeout=120)
    assert child.returncode == 75 and time.monotonic() - began < 30, said
    assert "the batch goes on at its vendor" in said
    assert "Traceback" not in said and CANARY not in said


@pytest.mark.slow
def test_a_person_sees_that_a_run_waits_for_a_batch_and_what_stopping_it_means(tmp_path: Path) -> None:
    protocol = PROTOCOLS[0]
    server = server_of(protocol)
    with serve_openai(server) as served:
        writer = process(tmp_path, judge_at(protocol, served.url), COUNT, 4)  # of the run file
        writer.kill()
        writer.communicate()
        words = ["run", str(tmp_path / "run.yaml"), "--store", str(tmp_path / "other")]
        child = subprocess.Popen(
            [str(TUNELINE_ASSESSOR.with_name("tuneline")), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        said = ""
        while "waiting for" not in said:
            line = child.stdout.readline()
            assert line, said
            said += line
        child.send_signal(signal.SIGINT)
        said += child.communicate(timeout=60)[0]
    assert child.returncode == 75, said
    assert f"assessor: waiting for {COUNT} answers by batches of 127.0.0.1" in said
    assert "assessor: stopped; A run that is stopped cancels no batch" in said
    assert "timestamp=" not in said and CANARY not in said
