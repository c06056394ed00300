"""The whole stage with a judge that works by batches, stopped while it waits and started again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

from kit.scripted_batches import BatchServer
from kit.scripted_openai import Answer, Call, serve_openai
from kit.scripted_vendors import PROTOCOLS, Protocol
from kit.support import alone
from tuneline_evaluator.stage import STAGE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("evaluator")]

PARAMS = {"turns": 1, "sampler": {"max_answer_tokens": 16}, "slots": 2, "threads": 1}
COUNT = 12
"""Conversations of six personas with two arms."""


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.provider)
def test_a_comparison_judged_by_batches_is_found_again_and_paid_once(
    protocol: Protocol, arms: Mapping[str, Any], tmp_path: Path
) -> None:
    numbers = itertools.count(1)

    def judge_of(call: Call) -> Answer:
        reason = f"seen in exchange 1, as point {next(numbers)} says"
        return protocol.reply(
            json.dumps({n: {"reason": reason, "answer": "YES"} for n in protocol.schema(call)["properties"]})
        )

    server = BatchServer(protocol, judge_of, polls=1_000_000)
    with serve_openai(server) as served:
        config = protocol.config(served.url, mode="batch", input_usd=10.0, output_usd=50.0)
        judge = config.model_dump(mode="json", exclude_defaults=True)
        alone(STAGE, tmp_path, {**arms, "judge": judge}, PARAMS, "batches")
        program = Path(sys.executable).with_name("tuneline-evaluator")
        words = [str(program), "run", "--file", str(tmp_path / "run.yaml"), "--store", str(tmp_path / "store")]
        with subprocess.Popen(words, stdout=DEVNULL, stderr=DEVNULL) as process:
            deadline = time.monotonic() + 120
            while not server.batches and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(2)
            os.kill(process.pid, signal.SIGKILL)
        assert server.items == COUNT
        server.polls = 1
        again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (len(server.batches), server.items, server.live) == (1, COUNT, 0)
    [manifest] = (tmp_path / "store").rglob("manifest.json")
    metrics = json.loads(manifest.read_text())["metrics"]
    assert metrics["cost"]["total_usd"] == pytest.approx(COUNT * (100 * 10 + 20 * 50) / 1e6)
