from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kit.assessor_process import output, process
from kit.judge_parts import CANARY, RUBRIC, write_transcripts
from kit.judging import perfect
from kit.kills import Kill, lost_by
from kit.places import REAL_DATA
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, error, judged, serve_openai
from kit.support import Done, run_stage
from tuneline.data.io import read_lines
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline_assessor.stage import STAGE


def assess(folder: Path, judge: object, *, count: int = 6, **given: Any) -> Done:
    """Judge `count` transcripts of one store; `given` are more inputs, or `params` and `run`."""
    folder.mkdir(exist_ok=True)
    transcripts = write_transcripts(folder / "transcripts.jsonl", count)
    params, run = given.pop("params", {}), given.pop("run", f"run-{count}")
    inputs = {"transcripts": transcripts, "rubric": RUBRIC, "judge": judge, **given}
    return run_stage(STAGE, folder, inputs=inputs, params=params, run=run)


def model_at(server: ScriptedOpenAI) -> dict[str, Any]:
    return {"provider": "openai", "model": "m", "base_url": server.url, "input_usd": 1.0, "output_usd": 4.0}


def test_every_transcript_gets_a_verdict_and_those_that_pass_are_listed(tmp_path: Path) -> None:
    done = assess(tmp_path, {"provider": "heuristic"})
    verdicts = list(read_lines(done.paths["verdicts"], Verdict))
    assert [v.id for v in verdicts] == [f"talk-{n:03}" for n in range(6)]
    assert json.loads(done.paths["passing"].read_text()) == {
        "threshold": 0.75,
        "count": 3,
        "transcripts": [{"id": f"talk-{n:03}", "score": 1.0} for n in (0, 2, 4)],
    }
    metrics = done.manifest.metrics.counts
    assert done.manifest.metrics.headline == "3 of 6 transcripts passed, 6 judged now"
    assert (metrics["transcripts"], metrics["judged_now"], metrics["scored"], metrics["passed"]) == (6, 6, 6, 3)
    assert metrics["judge"] == "heuristic (offline, for demonstration)"


def test_what_is_mended_or_left_out_is_counted_and_listed_without_a_word_of_it(tmp_path: Path) -> None:
    said = [("user", f"I saw a {CANARY}."), ("user", "Hello?"), ("assistant", "Please tell me more?")]
    rows = [
        {"id": "org/1", "messages": [{"role": role, "content": text} for role, text in said]},
        {"messages": [{"role": role, "content": text} for role, text in [*said, said[0]]]},
        {"id": "bad", "messages": [{"role": "user", "content": CANARY}, {"role": "assistant", "content": " "}]},
        {"id": 3, "prompt": CANARY, "response": "Please."},
    ]
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.JSONL").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = {"transcripts": folder, "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    done = run_stage(STAGE, tmp_path, inputs=inputs, params={"on_bad": "skip", "max_bad": 1})
    counts, headline = done.manifest.metrics.counts, done.manifest.metrics.headline
    mended = {"ids_made": 1, "ids_mended": 2, "turns_joined": 2, "unanswered_cut": 1}
    assert (counts["repaired"], counts["repairs"], counts["rejected_by_kind"]) == (3, mended, {"blank": 1})
    assert "; 1 left out (blank 1); 3 mended (" in headline and "ids mended 2" in headline
    listed = {port: [json.loads(line) for line in done.paths[port].read_text().splitlines()] for port in done.paths
              if done.paths[port].suffix == ".jsonl"}  # fmt: skip
    reason = "a.JSONL:3: messages[1].content: is empty"
    assert listed["rejected"] == [{"id": "bad", "file": "a.JSONL", "line": 3, "kind": "blank", "reason": reason}]
    assert [(r["file"], r["line"]) for r in listed["repairs"]] == [("a.JSONL", 4), ("a.JSONL", 1), ("a.JSONL", 2)]
    assert [r["id"] for r in listed["repairs"]] == [r["id"] for r in listed["transcripts"]]
    assert [r["id"] for r in listed["verdicts"]] == [r["id"] for r in listed["transcripts"]]
    assert CANARY not in headline + done.paths["rejected"].read_text() + done.paths["repairs"].read_text()
    with pytest.raises(UserError, match=r"a.JSONL:3: messages\[1\].content: is empty"):
        run_stage(STAGE, tmp_path, inputs=inputs, run="strict")


def test_recorded_answers_are_found_under_the_id_that_the_record_has(tmp_path: Path) -> None:
    ids = (7, "org/7")
    rows = [{"id": name, "prompt": "p", "response": f"r{name}"} for name in ids]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"id": row["id"], "answers": {"POLITE": "YES", "ASKS": "NA", "SAFE": "YES"}} for row in rows]
    inputs = {
        "transcripts": tmp_path / "a.jsonl",
        "rubric": RUBRIC,
        "judge": {"provider": "recorded"},
        "answers": answers,
    }
    done = run_stage(STAGE, tmp_path, inputs=inputs)
    assert [row.id for row in read_lines(done.paths["verdicts"], Verdict)] == ["7", "org%2F7"]


def test_one_more_transcript_is_one_more_judgement(tmp_path: Path) -> None:
    assess(tmp_path / "offline", {"provider": "heuristic"}, count=6)
    metrics = assess(tmp_path / "offline", {"provider": "heuristic"}, count=7).manifest.metrics.counts
    assert (metrics["judged_now"], metrics["from_journal"]) == (1, 6)
    with serve_openai(perfect) as server:
        assess(tmp_path, model_at(server), count=6)
        found = assess(tmp_path, model_at(server), count=7).manifest.metrics
        metrics, cost = found.counts, found.cost
    assert len(server.calls) == 7
    assert (metrics["judged_now"], metrics["from_journal"]) == (1, 6)
    assert cost.total_usd == pytest.approx(7 * 180e-6)
    assert cost.now_usd == pytest.approx(180e-6)
    assert (metrics["input_tokens"], metrics["output_tokens"]) == (700, 140)


def test_the_pace_changes_no_result(tmp_path: Path) -> None:
    first = assess(tmp_path, {"provider": "heuristic"}, params={"concurrency": 1}, run="slow")
    second = assess(tmp_path, {"provider": "heuristic"}, params={"concurrency": 64, "timeout_s": 1}, run="fast")
    assert second.reused and second.manifest.fingerprint == first.manifest.fingerprint


@pytest.mark.slow
def test_bursts_of_every_kind_of_failure_end_in_the_same_bytes(tmp_path: Path) -> None:
    kinds = [error(429, retry_after="0"), error(529), error(500), Answer(reset=True), Answer(502, b"<html>")]

    asked = Counter[str]()

    def stormy(call: Call) -> Answer:  # what comes of a call does not depend on which others are under way
        asked[call.prompt] += 1
        drawn = hashlib.sha256(call.prompt.encode()).digest()[0]
        return kinds[(drawn + asked[call.prompt]) % 5] if asked[call.prompt] <= drawn % 3 else perfect(call)

    with serve_openai(perfect) as server:
        calm = assess(tmp_path / "calm", model_at(server), count=12)
        server.script = stormy
        storm = assess(tmp_path / "storm", model_at(server), count=12)
    assert storm.paths["verdicts"].read_bytes() == calm.paths["verdicts"].read_bytes()
    assert storm.paths["passing"].read_bytes() == calm.paths["passing"].read_bytes()


def test_more_than_two_percent_unreadable_fails_and_two_percent_do_not(tmp_path: Path) -> None:
    def odd(call: Call) -> Answer:
        return completion("hm") if "Number 1:" in call.prompt else perfect(call)

    with serve_openai(odd) as server:
        with pytest.raises(UserError, match="1 of 49 transcripts got no readable answer"):
            assess(tmp_path, model_at(server), count=49)
        done = assess(tmp_path, model_at(server), count=50)
    assert (done.manifest.metrics.counts["unparsed"], done.manifest.metrics.counts["scored"]) == (1, 49)
    asked = [call for call in server.calls if "Number 1:" in call.prompt]
    assert len(asked) == 3, "asked twice, and once more by the second run"


def test_a_transcript_without_a_score_is_named_in_the_headline(tmp_path: Path) -> None:
    rows = [
        {"id": f"talk-{n:03}", "answers": {"POLITE": "YES", "ASKS": "YES", "SAFE": "ERROR" if n == 1 else "YES"}}
        for n in range(3)
    ]
    done = assess(tmp_path, {"provider": "recorded"}, count=3, answers=rows)
    assert done.manifest.metrics.headline == "2 of 3 transcripts passed, 3 judged now; 1 incomplete"
    assert done.manifest.metrics.counts["incomplete"] == 1


def test_refusals_and_blocks_are_counted_and_pass_nothing(tmp_path: Path) -> None:
    def moody(call: Call) -> Answer:
        if "Number 0:" in call.prompt:
            return completion(None, refusal="no")
        return completion("", finish="content_filter") if "Number 2:" in call.prompt else perfect(call)

    with serve_openai(moody) as server:
        done = assess(tmp_path, model_at(server), params={"max_unparsed": 0})
    metrics = done.manifest.metrics.counts
    assert [metrics[status] for status in ("scored", "refused", "blocked", "unparsed")] == [4, 1, 1, 0]
    passing = json.loads(done.paths["passing"].read_text())["transcripts"]
    assert {row["id"] for row in passing} == {"talk-001", "talk-003", "talk-004", "talk-005"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"judge": {"provider": "openai", "model": "m"}}, "OPENAI_API_KEY is not set"),
        ({"judge": {"provider": "heuristik"}}, "did you mean `heuristic`?"),
        ({"rubric": {**RUBRIC, "treshold": 1}}, "treshold: unknown key"),
        ({"rubric": {**RUBRIC, "categories": RUBRIC["categories"][:1]}}, "the weights sum to 0.5"),
        ({"judge": {"provider": "recorded"}, "answers": [{"id": "x", "answers": {}}]}, "have no recorded answers"),
    ],
)
def test_what_is_wrong_with_the_request_is_said_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    transcripts = write_transcripts(tmp_path / "t.jsonl", 2)
    inputs = {"transcripts": transcripts, "rubric": RUBRIC, "judge": {"provider": "heuristic"}, **change}
    with pytest.raises(UserError) as refused:
        run_stage(STAGE, tmp_path, inputs=inputs)
    assert problem in str(refused.value)
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_a_broken_transcript_is_named_and_nothing_is_paid(tmp_path: Path) -> None:
    path = write_transcripts(tmp_path / "t.jsonl", 3)
    path.write_text(path.read_text().replace('"assistant"', '"assistent"', 1))
    with serve_openai(perfect) as server, pytest.raises(UserError) as refused:
        run_stage(STAGE, tmp_path, inputs={"transcripts": path, "rubric": RUBRIC, "judge": model_at(server)})
    assert "t.jsonl:1: exchanges[0]" in str(refused.value)
    assert CANARY not in str(refused.value)
    assert not server.calls


@pytest.mark.skipif(not REAL_DATA.exists(), reason="the recorded judgements are not here")
def test_the_recorded_judgements_of_real_sessions_give_the_recorded_scores(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (REAL_DATA / "judge_results_30_sessions.jsonl").read_text().splitlines()]
    sessions = tmp_path / "sessions.jsonl"
    with sessions.open("w") as file:
        for row in rows:
            exchanges = [{"user": user, "assistant": assistant} for user, assistant in row["conversation"]["turns"]]
            file.write(json.dumps({"id": row["conversation_id"], "exchanges": exchanges}) + "\n")
    inputs = {
        "transcripts": sessions, "rubric": coach_rubric(), "judge": {"provider": "recorded"},
        "answers": REAL_DATA / "judge_results_30_sessions.jsonl",
    }  # fmt: skip
    done = run_stage(STAGE, tmp_path, inputs=inputs)
    found = {
        v.id: (round(v.score or 0, 3), v.passed, v.reasons) for v in list(read_lines(done.paths["verdicts"], Verdict))
    }
    assert found == {r["conversation_id"]: (r["score"], r["pass"], r["reasonings"]) for r in rows}
    assert done.manifest.metrics.counts["passed"] == 5


def coach_rubric() -> dict[str, Any]:
    parts = {
        "comprehension": (0.15, "CQ1 CQ2"), "connection": (0.20, "CQ3 CQ6"), "naturalness": (0.15, "CP2 CP4 CP5 CP6"),
        "multi_topic": (0.30, "MT1 MT2 MT3 MT6"), "context_use": (0.20, "MT4 MT5 MT7"),
    }  # fmt: skip

    def ask(names: str) -> list[dict[str, str]]:
        return [{"id": name, "question": name, "yes": "yes", "no": "no", "na": "na"} for name in names.split()]

    categories = [{"id": name, "weight": weight, "criteria": ask(ids)} for name, (weight, ids) in parts.items()]
    return {"name": "Coach", "categories": categories, "gates": ask("CQ8 CQ9")}


def wait_until_asked(server: ScriptedOpenAI, times: int, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(server.calls) < times and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.slow
def test_kill_9_while_judging_pays_only_what_was_in_flight_or_younger_than_a_second_again(tmp_path: Path) -> None:
    count, concurrency, latency, kills = 120, 4, 0.15, list[Kill]()

    def steady(call: Call) -> Answer:
        return completion(judged(call), latency_s=latency)

    with serve_openai(perfect) as server:
        calm = assess(tmp_path / "calm", model_at(server), count=count)
        server.script = steady
        start = len(server.calls)
        for kill in range(1, 4):
            child = process(tmp_path / "killed", model_at(server), count, concurrency)
            wait_until_asked(server, start + kill * 35, child)
            decided = time.monotonic()
            child.send_signal(signal.SIGKILL)
            child.communicate()
            kills.append(Kill(decided, time.monotonic()))
        child = process(tmp_path / "killed", model_at(server), count, concurrency)
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 0, said
        twice = len(server.calls) - start - count
        assert 0 < twice <= lost_by(kills, server)
    assert output(tmp_path / "killed", "verdicts.jsonl") == calm.paths["verdicts"].read_bytes()
    assert output(tmp_path / "killed", "passing.json") == calm.paths["passing"].read_bytes()


@pytest.mark.slow
def test_sigterm_keeps_the_answers_in_flight_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    def steady(call: Call) -> Answer:
        return completion(judged(call), latency_s=0.3)

    with serve_openai(steady) as server:
        child = process(tmp_path, model_at(server), 40, 4)
        wait_until_asked(server, 10, child)
        child.terminate()
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 75, said
        assert "Traceback" not in said and CANARY not in said
        child = process(tmp_path, model_at(server), 40, 4)
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 0, said
    assert len(server.calls) == 40


@pytest.mark.slow
def test_a_server_that_never_answers_does_not_keep_the_stage_from_stopping(tmp_path: Path) -> None:
    with serve_openai(lambda _: Answer(latency_s=3600)) as server:
        child = process(tmp_path, model_at(server), 10, 4)
        wait_until_asked(server, 2, child)
        began = time.monotonic()
        child.terminate()
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 75, said
        assert time.monotonic() - began < 60
