"""The assessor of a run that may spend only so much."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import RUBRIC, write_transcripts
from kit.scripted_openai import ScriptedOpenAI, completion, error, judged, serve_openai
from tuneline.commands.show import run_lines
from tuneline.engine.ledger import spendings
from tuneline.store.base import open_store

TUNELINE_ASSESSOR = Path(sys.executable).with_name("tuneline-assessor")
PRICES = {"input_usd": 100.0, "output_usd": 100.0, "max_tokens": 400}
"""An answer costs $0.012; by the length of what is sent and may come, it could be about $0.30."""


def assess(folder: Path, server: ScriptedOpenAI, **keys: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, server, **keys), capture_output=True, text=True, check=False)


def command(folder: Path, server: ScriptedOpenAI, **keys: Any) -> list[str]:
    judge = {"provider": "openai", "model": "m", "base_url": server.url, **PRICES, **keys.pop("judge", {})}
    transcripts = write_transcripts(folder / "transcripts.jsonl", 20)
    inputs = {"transcripts": str(transcripts), "rubric": RUBRIC, "judge": judge}
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"run": "r", "goal": "assessor", "inputs": inputs, **keys}))
    return [str(TUNELINE_ASSESSOR), "run", "--file", str(file), "--store", str(folder / "store")]


def paid_usd(folder: Path) -> float:
    kept = spendings(open_store(str(folder / "store")), "r")
    return sum(paid.usage.cost_usd for spending in kept for paid in spending.paid)


def test_a_run_stops_before_the_call_that_could_exceed_its_limit_and_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(judged(call))) as server:
        one_by_one = {"concurrency": 1}  # else another call is refused each time, and a shorter one may fit
        stopped = assess(tmp_path, server, max_usd=0.4, assessor=one_by_one)
        made = len(server.calls)
        again = assess(tmp_path, server, max_usd=0.4, assessor=one_by_one)
        assert (stopped.returncode, again.returncode) == (75, 75)
        assert "max_usd: the run has spent $" in stopped.stderr and "raise max_usd" in stopped.stderr
        assert 1 <= made < 20 and len(server.calls) == made, "a second try spends nothing"
        assert paid_usd(tmp_path) == pytest.approx(made * 0.012)
        assert assess(tmp_path, server, max_usd=10).returncode == 0
    assert len(server.calls) == 20, "what was paid is paid once"
    assert paid_usd(tmp_path) == pytest.approx(20 * 0.012)
    shown = "\n".join(run_lines(open_store(str(tmp_path / "store")), "r"))
    assert "judge" in shown and "$0.24 in 20 calls" in shown


def test_two_processes_of_one_run_stay_below_its_limit_together_and_both_go_on_when_it_is_raised(
    tmp_path: Path,
) -> None:
    """Each judges transcripts of its own, as two pods of one workflow do."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / "store").symlink_to(tmp_path / "one" / "store")
    (tmp_path / "one" / "store").mkdir()
    with serve_openai(lambda call: completion(judged(call), latency_s=0.1)) as server:

        def both(max_usd: float) -> list[int]:
            words = [command(folder, server, max_usd=max_usd) for folder in folders]
            for folder in folders:
                rows = (folder / "transcripts.jsonl").read_text()
                (folder / "transcripts.jsonl").write_text(rows.replace("How", f"{folder.name}: how"))
            processes = [subprocess.Popen(w, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for w in words]
            return [process.wait() for process in processes]

        assert both(0.45) == [75, 75]
        assert 0.1 <= paid_usd(folders[0]) <= 0.45
        assert both(10) == [0, 0]
        assert paid_usd(folders[0]) == pytest.approx(len(server.calls) * 0.012)


def test_a_stage_that_failed_has_paid_all_the_same(tmp_path: Path) -> None:
    with serve_openai(lambda c: completion(judged(c)) if c.number < 3 else error(401, "invalid_api_key")) as server:
        assert assess(tmp_path, server).returncode == 2
    assert paid_usd(tmp_path) == pytest.approx(3 * 0.012)
    lines = list(run_lines(open_store(str(tmp_path / "store")), "r"))
    assert any(line.startswith("assessor") and "judge" in line and "$0.036" in line for line in lines)


def test_what_a_killed_attempt_paid_is_counted_but_for_its_last_second(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(judged(call), latency_s=0.3)) as server:
        words = command(tmp_path, server)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not paid_usd(tmp_path) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait()
        before = paid_usd(tmp_path)
        assert before >= 0.012
        assert assess(tmp_path, server).returncode == 0
    assert 20 * 0.012 - 1e-9 <= paid_usd(tmp_path) <= len(server.calls) * 0.012 + 1e-9


def test_a_limit_without_a_price_is_refused_before_the_first_call(tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(judged(call)), host="127.0.0.1") as server:
        judge = {"input_usd": None, "output_usd": None, "base_url": "http://models.example.com/v1"}
        done = assess(tmp_path, server, judge=judge, max_usd=1)
    assert done.returncode == 2 and "max_usd: the price of m at models.example.com is not known" in done.stderr
    assert not server.calls


@pytest.mark.parametrize("wrong", [-1, "five", True, float("inf")])
def test_a_limit_that_is_no_amount_is_refused(tmp_path: Path, wrong: object) -> None:
    with serve_openai(lambda call: completion(judged(call))) as server:
        done = assess(tmp_path, server, max_usd=wrong)
    assert done.returncode == 2 and "max_usd: US dollars that the run may spend" in done.stderr
