"""The whole stage with the real llama-server, a tiny model, and everything that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import psutil
import pytest

from kit.evaluator_parts import persona_row
from kit.kills import Kill, lost_by
from kit.scripted_openai import Answer, Call, ScriptedOpenAI, completion, error, judged, serve_openai
from kit.support import Done, alone, run_stage
from tuneline.data.conversations import Conversation
from tuneline.data.io import write_record
from tuneline.data.serving import Serving
from tuneline.errors import UserError
from tuneline.judge.card import JudgeCard, JudgeCards
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.stage import STAGE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("evaluator")]

Inputs = Mapping[str, Any]
PARAMS: Mapping[str, Any] = {"turns": 3, "sampler": {"max_answer_tokens": 24}, "slots": 2, "threads": 1}
CANARY = "cormorant-4417"
ARMS = ("base", "finetuned")


def evaluate(folder: Path, inputs: Inputs, *, run: str = "test", **params: object) -> Done:
    return run_stage(STAGE, folder, inputs=inputs, params={**PARAMS, **params}, run=run)


def metrics(done: Done) -> dict[str, Any]:
    return done.manifest.metrics.counts


def conversations(done: Done) -> list[Conversation]:
    return [Conversation.model_validate_json(line) for line in done.paths["conversations"].read_text().splitlines()]


def comparison(done: Done) -> Comparison:
    return Comparison.model_validate_json(done.paths["comparison"].read_text())


@pytest.fixture(scope="module")
def done(arms: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One undisturbed evaluation."""
    return evaluate(tmp_path_factory.mktemp("evaluation"), arms)


def test_both_arms_hold_the_same_conversations_from_the_personas_side_with_the_same_seeds(done: Done) -> None:
    rows = conversations(done)
    assert Counter(row.arm for row in rows) == {"base": 6, "finetuned": 6}
    for persona, pair in groupby(rows, key=lambda row: row.persona):
        base, finetuned = pair
        assert (base.arm, finetuned.arm, base.seed) == ("base", "finetuned", finetuned.seed)
        assert [e.user for e in base.exchanges] == [e.user for e in finetuned.exchanges]
        assert base.exchanges[0].user == f"Hello, this is number {int(persona[-2:])}."
        assert base.messages != finetuned.messages
        assert base.status == finetuned.status == "complete"
        assert [len(row.exchanges) for row in (base, finetuned)] == [3, 3]


def test_every_prompt_token_is_evaluated_once_because_a_conversation_keeps_its_slot(done: Done) -> None:
    evaluated = unique = 0
    for row in conversations(done):
        prompts = [answer.prompt_tokens for answer in row.answers]
        assert prompts == sorted(prompts)
        assert sum(prompts) > 1.4 * prompts[-1]  # what a server that forgets would have evaluated
        assert sum(answer.evaluated_tokens for answer in row.answers) <= 1.1 * prompts[-1]
        evaluated += sum(answer.evaluated_tokens for answer in row.answers)
        unique += prompts[-1] - sum(answer.answer_tokens for answer in row.answers[:-1])
    # What this untrained model writes is read back as other tokens and evaluated again, so here the ratio is above 1.
    assert metrics(done)["prompt_tokens_ratio"] == pytest.approx(evaluated / unique, abs=0.001)


def test_the_comparison_agrees_with_the_verdicts_it_was_made_from(done: Done, arms: Inputs) -> None:
    found, rows = comparison(done), [json.loads(line) for line in done.paths["verdicts"].read_text().splitlines()]
    means = {arm: [row["score"] for row in rows if row["arm"] == arm] for arm in ("base", "finetuned")}
    assert found.base.mean_score == pytest.approx(sum(means["base"]) / 6)
    assert found.score.mean_difference == pytest.approx(sum(means["finetuned"]) / 6 - sum(means["base"]) / 6)
    assert {row["conversation"] for row in rows} == {row.id for row in conversations(done)}
    assert (found.score.personas, found.judge_is_heuristic, found.unequal) == (6, True, [])
    assert found.lineage["model"].sha256 != found.lineage["base"].sha256
    assert found.fingerprint == done.manifest.fingerprint
    assert found.headline == done.manifest.metrics.headline
    report = done.paths["report"].read_text()
    assert report.startswith("<!doctype html>")
    here = {str(Path(path).parent) for path in arms.values() if isinstance(path, Path)}
    assert not [folder for folder in here if folder in report + done.paths["comparison"].read_text()]


def test_it_leaves_behind_how_to_serve_what_was_compared(done: Done) -> None:
    serving = Serving.model_validate_json(done.paths["serving"].read_text())
    found = comparison(done)
    assert (serving.sampler, serving.context_tokens) == (found.settings.sampler, found.arms[1].context_tokens)
    lines = done.paths["modelfile"].read_text().splitlines()
    assert lines[0] == "FROM ./model/tuned.gguf"
    assert [line for line in lines if line.startswith("PARAMETER num_ctx")] == [
        f"PARAMETER num_ctx {serving.context_tokens}"
    ]
    assert "PARAMETER num_predict 24" in lines


def test_an_exact_evaluation_repeats_to_the_byte_in_a_fresh_store(arms: Inputs, tmp_path: Path) -> None:
    # Warm slots of earlier conversations, other arms and interrupted runs decide nothing: only what is said does.
    many = {**arms, "personas": {"personas": [persona_row(number) for number in range(8)]}}
    found = set()
    for number in range(4):
        folder = tmp_path / str(number)
        if number == 3:  # a run that goes on where another stopped: half of the conversations are known
            evaluate(folder, {**many, "personas": {"personas": [persona_row(n) for n in range(0, 8, 2)]}}, run="half",
                     exact=True)  # fmt: skip
        result = evaluate(folder, many, exact=True, run="whole")
        rows = [row.model_dump(exclude={"answers"}) for row in conversations(result)]
        found.add((json.dumps(rows), result.paths["verdicts"].read_bytes()))
    assert len(found) == 1


def test_the_same_file_in_both_arms_makes_no_difference_at_all(arms: Inputs, tmp_path: Path) -> None:
    same = {**arms, "model": arms["base"], "model_info": arms["base_info"]}
    found = comparison(evaluate(tmp_path, same, slots=1, turns=2))
    assert {row.difference for row in found.personas} == {0.0}
    assert found.score.sign_flip_p == 1.0
    assert found.outcome == "inconclusive"  # six personas that are all alike say little about the next one


def test_another_fine_tune_reuses_the_base_arm_and_its_verdicts(
    arms: Inputs, third_arm: Inputs, tmp_path: Path
) -> None:
    first = evaluate(tmp_path, arms, run="first")
    assert (metrics(first)["conversations_from_journal"], metrics(first)["judged_now"]) == (0, 12)
    second = evaluate(tmp_path, third_arm, run="second")
    assert metrics(second)["conversations_from_journal"] == 6
    assert (metrics(second)["judged_now"], metrics(second)["judged_from_journal"]) == (6, 6)
    base = [[row for row in conversations(result) if row.arm == "base"] for result in (first, second)]
    assert base[0] == base[1]
    more = evaluate(tmp_path, {**third_arm, "personas": {"personas": [persona_row(n) for n in range(7)]}}, run="third")
    assert metrics(more)["conversations_from_journal"] == 12


def test_a_conversation_that_outgrows_the_context_has_that_status_and_no_score(arms: Inputs, tmp_path: Path) -> None:
    result = evaluate(tmp_path, arms, context_tokens=256, sampler={"max_answer_tokens": 100}, turns=4, interleave=False)
    rows, found = conversations(result), comparison(result)
    assert {row.status for row in rows} == {"overflow"}
    assert all(0 < len(row.exchanges) < 4 for row in rows)
    assert (found.base.overflow, found.base.scored, found.score.personas) == (6, 0, 0)
    assert found.headline == "inconclusive: no persona has a scored conversation in both arms"


def test_a_judge_sees_neither_arm_nor_persona_and_gets_both_arms_mixed(arms: Inputs, tmp_path: Path) -> None:
    with serve_openai(lambda call: completion(judged(call))) as server:
        judge = {"provider": "openai", "model": "gpt-m", "base_url": server.url, "output_usd": 1.0}
        (tmp_path / "system.txt").write_text("You know about growing things.\n")
        chose = JudgeCard(label="gpt-n", provider="openai", model="gpt-n", family="openai", questions_sha256="0")
        write_record(tmp_path / "judges.json", JudgeCards(judges=[chose]))
        inputs = {**arms, "judge": judge, "system_prompt": tmp_path / "system.txt"}
        inputs["assessed_by"] = tmp_path / "judges.json"
        result = evaluate(tmp_path, inputs, judge_concurrency=1, turns=2)
        assert len(server.calls) == 12
    found = comparison(result)
    assert ([card.model for card in found.judges], found.chosen_by) == (["gpt-m"], [chose])
    assert any(note.startswith("Models of one family (openai) chose what was learnt") for note in found.notes)
    cost = result.manifest.metrics.cost
    assert [cost.total_usd, cost.now_usd] == pytest.approx([12 * 20e-6] * 2)
    assert {row.messages[0].content for row in conversations(result)} == {"You know about growing things."}
    by_text = {row.exchanges[0].assistant: row for row in conversations(result)}
    order = [next(row.arm for text, row in by_text.items() if text in call.prompt) for call in server.calls]
    assert len({*order[:6]}) == 2
    secret = {"finetuned", "growing things"}
    secret |= {word for row in by_text.values() for word in (row.id, row.judged_id, row.persona)}
    assert not [word for call in server.calls for word in secret if word in json.dumps(call.body)]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda _: error(400, "content_filter"), r"took 0 of the first 12 transcripts \(12 blocked"),
        (lambda _: completion(None, refusal="No."), r"took 0 of the first 12 transcripts \(12 refused"),
        (lambda _: completion("I like both."), r"2 of 12 transcripts got no readable answer"),
        (lambda call: completion(hollow(call)), r"reasons are empty or copied .*hollow reasons"),
    ],
)
def test_a_judge_that_does_not_judge_leaves_no_result_and_the_same_command_goes_on_when_it_is_mended(
    arms: Inputs, tmp_path: Path, broken: Callable[[Call], Answer], why: str
) -> None:
    with serve_openai(broken) as server:
        inputs = {**arms, "judge": {"provider": "openai", "model": "m", "base_url": server.url}}
        with pytest.raises(UserError, match=why):
            evaluate(tmp_path, inputs, turns=1)
        assert not list((tmp_path / "store").rglob("manifest.json"))
        server.script = lambda call: completion(judged(call))
        mended = evaluate(tmp_path, inputs, turns=1)
    assert (metrics(mended)["judged_now"], metrics(mended)["conversations_from_journal"]) == (12, 12)
    assert comparison(mended).score.personas == 6


def hollow(call: Call) -> str:
    return json.dumps({name: {"reason": "…", "answer": "YES"} for name in call.schema["properties"]})


def test_unequal_arms_are_refused_before_anything_starts_and_stamped_when_allowed(arms: Inputs, tmp_path: Path) -> None:
    facts = {**json.loads(Path(arms["model_info"]).read_text()), "file_type": "Q8_0"}
    unequal = {**arms, "model_info": tmp_path / "q8.json"}
    unequal["model_info"].write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"file_type: F16 \(base\) and Q8_0 \(finetuned\)"):
        evaluate(tmp_path, unequal)
    assert not list((tmp_path / "store").rglob("*.jsonl"))
    found = comparison(evaluate(tmp_path, unequal, allow_unequal=True, turns=1))
    assert found.unequal == ["file_type: F16 (base) and Q8_0 (finetuned)"]
    assert found.notes[0].startswith("The arms differ in more than their weights")


@pytest.mark.parametrize(
    ("params", "inputs", "problem"),
    [
        ({"sampler": {"max_answer_tokens": 2048}}, {}, "leaves no room for a question"),
        ({}, {"judge": {"provider": "recorded"}}, "answers"),
        ({}, {"personas": {"personas": []}}, "at least 1 item"),
        ({}, {"simulator": {"provider": "openai", "model": "m"}}, "OPENAI_API_KEY"),
    ],
)
def test_a_wrong_request_is_refused_before_a_server_starts(
    arms: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Inputs, inputs: Inputs, problem: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match=problem):
        evaluate(tmp_path, {**arms, **inputs}, **params)


def command(folder: Path, inputs: Inputs, player: ScriptedOpenAI) -> list[str]:
    """The stage's command line for a run of its own, with personas that `player` plays as slowly as it likes."""
    simulator = {"provider": "openai", "model": "m", "base_url": player.url}
    alone(STAGE, folder, {**inputs, "simulator": simulator}, {**PARAMS, "slots": 1}, "disturbed")
    program = Path(sys.executable).parent / "tuneline-evaluator"
    return [str(program), "run", "--file", str(folder / "run.yaml"), "--store", str(folder / "store")]


@contextmanager
def slow_player() -> Iterator[ScriptedOpenAI]:
    """Play personas so that an evaluation lasts about five seconds, on any machine."""
    with serve_openai(lambda call: completion(f"{CANARY} {len(call.prompt)}", latency_s=0.25)) as player:
        yield player


def journalled(folder: Path) -> list[str]:
    """Ids of all conversations in the store's journals, once for each time that they were written."""
    segments = (folder / "store").glob("journals/evaluator/*/*.jsonl")
    rows = [json.loads(line)["row"] for segment in segments for line in segment.read_text().splitlines()]
    return [row["id"] for row in rows if "seed" in row]


def wait_for_conversations(count: int, folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(journalled(folder)) < count:
        assert process.poll() is None, "the stage ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def servers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children(recursive=True) if "llama-server" in child.name()]


def test_a_killed_evaluation_goes_on_where_it_was_and_repeats_no_conversation(arms: Inputs, tmp_path: Path) -> None:
    with slow_player() as player:
        words = command(tmp_path, arms, player)
        with subprocess.Popen(words, stdout=DEVNULL, stderr=DEVNULL, text=True) as process:
            wait_for_conversations(2, tmp_path, process)
            servers = servers_of(process)
            decided = time.monotonic()
            os.kill(process.pid, signal.SIGKILL)
        kill = Kill(decided, time.monotonic())
        known = journalled(tmp_path)
        assert len(servers) == 2
        assert not psutil.wait_procs(servers, timeout=60)[1], "llama-server outlived the stage"
        assert 2 <= len(known) < 12
        player.script = lambda call: completion(f"{CANARY} {len(call.prompt)}")
        again = subprocess.run(words, capture_output=True, text=True, check=False)
        asked = Counter(json.dumps(call.body, sort_keys=True) for call in player.calls)
    assert again.returncode == 0, again.stderr
    assert sorted(journalled(tmp_path)) == sorted(f"person-{n:02}/0/{arm}" for n in range(6) for arm in ARMS)
    [manifest] = (tmp_path / "store").rglob("manifest.json")
    assert json.loads(manifest.read_text())["metrics"]["counts"]["conversations_from_journal"] == len(known)
    assert sum(asked.values()) - len(asked) <= lost_by([kill], player)
    assert CANARY not in again.stdout + again.stderr + manifest.read_text()


def test_a_server_that_dies_is_started_again_and_no_conversation_is_lost(arms: Inputs, tmp_path: Path) -> None:
    with slow_player() as player:
        words = command(tmp_path, arms, player)
        with subprocess.Popen(words, stdout=DEVNULL, stderr=PIPE, text=True) as process:
            wait_for_conversations(1, tmp_path, process)
            for server in servers_of(process):
                server.kill()
            _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert sorted(journalled(tmp_path)) == sorted(f"person-{n:02}/0/{arm}" for n in range(6) for arm in ARMS)


def test_a_terminated_evaluation_exits_75_at_once_and_keeps_its_conversations(arms: Inputs, tmp_path: Path) -> None:
    with slow_player() as player:
        words = command(tmp_path, arms, player)
        with subprocess.Popen(words, stdout=DEVNULL, stderr=PIPE, text=True) as process:
            wait_for_conversations(1, tmp_path, process)
            process.terminate()
            _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert 1 <= len(journalled(tmp_path)) < 12
    assert CANARY not in errors


def test_importing_the_stage_imports_nothing_heavy() -> None:
    code = "import sys, tuneline_evaluator.stage; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy", "numpy", "matplotlib", "jinja2", "tokenizers", "openai", "torch"} & set(loaded)
