"""Processes that are killed, stopped or left without a store at any moment, while a third of all requests fails."""

from __future__ import annotations

import json
import random
import re
import signal
import time

import pytest

from kit.fault_parts import (
    PACE,
    Child,
    Ended,
    Place,
    Walk,
    check_all,
    journal_rows,
    leftovers,
    racing_reader,
    undisturbed,
    walk,
)
from kit.judge_parts import RUBRIC, write_transcripts
from kit.s3_proxy import Fault, Kind, Proxy
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from tuneline.data.transcripts import read_transcripts

STORM: tuple[Kind, ...] = ("503 SlowDown", "reset", "lose answer", "cut request", "cut answer", "flip request")
YOUNG_S = 2.0
"""Seconds within which a paid answer is in the store: one, and the time that a busy machine and a bad network take."""


def published(place: Place, walking: Walk) -> int:
    """Return the last step whose checkpoint is in the store, -1 if there is none."""
    data = place.get(f"results/walker/{walking.calm.fingerprint}/state/index.json")
    entries = json.loads(data)["entries"] if data else {}
    return max((int(name.removeprefix("step-")) for name in entries), default=-1)


def resumed_at(said: str) -> int | None:
    """Return the step that a process began with, None if it did not come so far."""
    found = re.search(r"event=walking first=(\d+)", said)
    return int(found[1]) if found else None


def paid(*ended: Ended) -> list[int]:
    """Return the steps that processes paid for."""
    return sorted(int(step) for one in ended for step in re.findall(r"event=paid step=(\d+)", one.said))


def wait_for_checkpoint(place: Place, walking: Walk, child: Child) -> None:
    deadline = time.monotonic() + 30
    while published(place, walking) < 0 and time.monotonic() < deadline:
        assert child.process.is_alive(), child.end().said
        time.sleep(0.02)


@pytest.mark.slow
def test_twenty_kills_in_a_row_go_on_from_the_last_checkpoint_and_end_complete(place: Place, network: Proxy) -> None:
    """Each process is killed at its n-th request, so that every phase is met on a fast machine and on a slow one."""
    walking, dice = walk(place, steps=300, pause=0.02), random.Random(6)
    network.storm(0.3, *STORM, seed=6)
    began, killed = set(), 0
    with racing_reader(place, walking.calm):
        for _ in range(20):
            before, last = published(place, walking), len(network.seen) + dice.randrange(60)
            child = place.start(*walking.command)
            while len(network.seen) < last and child.process.is_alive():
                time.sleep(0.005)
            child.process.kill()
            ended = child.end()
            killed += ended.code == -signal.SIGKILL
            assert ended.code in (-signal.SIGKILL, 0), ended.said
            if (step := resumed_at(ended.said)) is not None:
                assert step > before
                began.add(step)
        ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    check_all(place, walking.calm, killed=True)
    assert killed >= 10 and len(began) >= 3, f"{killed} killed, begun at {began}"
    assert network.hits.total() >= 50


@pytest.mark.slow
def test_a_checkpoint_that_the_stage_drops_while_a_slow_store_takes_it_can_be_resumed(
    place: Place, network: Proxy
) -> None:
    walking = walk(place, steps=200, pause=0.02)
    network.plan(Fault("stall", "PUT", "/optimizer"))  # for a second, in which dozens of checkpoints come and go
    child = place.start(*walking.command, pace={**PACE, "engine.context.BEAT_SECONDS": 1.0})
    wait_for_checkpoint(place, walking, child)
    child.process.kill()
    child.end()
    before = published(place, walking)
    ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    assert resumed_at(ended.said) == before + 1
    check_all(place, walking.calm, killed=True)


@pytest.mark.slow
def test_a_killed_judge_is_paid_again_only_for_what_was_in_flight_or_young(place: Place, network: Proxy) -> None:
    transcripts = write_transcripts(place.folder / "transcripts.jsonl", 40)
    digests = {t.exchanges[0].user.partition(":")[0]: t.sha256 for t in read_transcripts(transcripts).transcripts}
    latency, dice, allowed = 0.4, random.Random(7), 0

    def about(call: Call) -> str:
        found = re.search(r"Number \d+", call.prompt)
        assert found
        return digests[found[0]]

    def perfect(call: Call) -> Answer:
        return completion(judged(call), latency_s=latency)

    with serve_openai(lambda call: completion(judged(call))) as server:
        judge = {"provider": "openai", "model": "m", "base_url": server.url}
        inputs = {"transcripts": str(transcripts), "rubric": RUBRIC, "judge": judge}
        file = place.run_file("judge", goal="assessor", inputs=inputs, assessor={"concurrency": 4})
        command = ("tuneline-assessor", "run", "--file", file, "--store", place.uri, "--scratch", place.scratch)
        calm = undisturbed(place, *command)
        server.script, paid_before = perfect, len(server.calls)
        network.storm(0.3, *STORM, seed=7)
        for _ in range(4):
            child, asked = place.start(*command, pace={**PACE, "engine.context.BEAT_SECONDS": 1.0}), len(server.calls)
            while len(server.calls) < asked + 4 and child.process.is_alive():
                time.sleep(0.02)
            child.process.join(dice.uniform(0.5, 2.5))
            child.process.kill()
            killed_at = time.monotonic()
            ended = child.end()
            assert ended.code in (-signal.SIGKILL, 0), ended.said
            old = [c for c in server.calls[asked:] if c.at + latency < killed_at - YOUNG_S]
            assert {about(call) for call in old} <= set(journal_rows(place))
            allowed += len(server.calls) - asked - len(old)
        ended = place.run(*command)
    network.calm()
    assert ended.code == 0, ended.said
    assert 0 < len(server.calls) - paid_before - 40 <= allowed
    check_all(place, *calm, killed=True)
    assert network.hits.total() >= 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", [8, 9])
def test_two_runs_that_race_to_publish_one_result_leave_one_result(place: Place, network: Proxy, seed: int) -> None:
    walking = walk(place, steps=3)
    network.storm(0.3, *STORM, seed=seed)
    network.plan(Fault("lose answer", "PUT", "/manifest.json", times=2))
    with racing_reader(place, walking.calm):
        both = [place.start(*walking.command[:-1], place.folder / name) for name in ("one", "two")]
        for ended in [child.end() for child in both]:
            assert ended.code == 0, ended.said
            assert resumed_at(ended.said) is not None, "it found the result of the other one"
    network.calm()
    assert leftovers(place, walking.calm) == set()
    check_all(place, walking.calm)


@pytest.mark.slow
def test_a_stop_in_a_storm_keeps_everything_and_what_is_read_damaged_is_read_again(
    place: Place, network: Proxy
) -> None:
    walking = walk(place, steps=60, pause=0.05)
    network.storm(0.5, *STORM, seed=10)
    child = place.start(*walking.command)
    wait_for_checkpoint(place, walking, child)
    child.process.terminate()
    stopped = child.end()
    assert stopped.code == 75, stopped.said
    assert re.fullmatch(r"stopped at \d+ of 60; run the same command again to resume from here", stopped.message[0])
    before = published(place, walking)
    network.calm()
    reads = (
        "/given/",
        "/inputs/words",
        "/runs/walk/inputs/",
        "list-type",
        "/state/index.json",
        "/weights",
        "/journals/",
    )
    damage: tuple[Kind, ...] = ("flip answer", "cut answer")
    network.plan(*(Fault(kind, "GET", path) for kind in damage for path in reads))
    ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    assert resumed_at(ended.said) == before + 1
    assert paid(stopped, ended) == list(range(60))
    check_all(place, walking.calm)


@pytest.mark.slow
def test_a_stop_that_finds_neither_a_safe_point_nor_a_store_ends_in_time(place: Place, network: Proxy) -> None:
    walking = walk(place, steps=2, pause=6)
    pace = {**PACE, "engine.context.GRACE_SECONDS": 0.5, "engine.context.BEAT_SECONDS": 60}
    child = place.start(*walking.command, pace=pace)
    while "event=paid step=0" not in child.log.read_text() and child.process.is_alive():
        time.sleep(0.02)
    time.sleep(0.5)  # the safe point behind the first step is past, and the second one pauses
    network.storm(1, "400 ExpiredToken")
    child.process.terminate()
    ended = child.end()
    assert ended.code == 75 and paid(ended) == [0], ended.said
    assert 'event="not saved"' in ended.said.splitlines()[-1]
    network.calm()
    ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    check_all(place, walking.calm, killed=True)


@pytest.mark.slow
def test_rows_that_could_not_be_saved_are_saved_at_the_end(place: Place, network: Proxy) -> None:
    walking = walk(place, steps=60, pause=0.1)
    network.plan(Fault("503 SlowDown", "PUT", "/journals/", times=30))
    stopped = place.run(*walking.command)
    assert stopped.code == 75, stopped.said
    assert "SlowDown, 30 times. Run the same command again." in stopped.message[0]
    ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    assert paid(stopped, ended) == list(range(60))
    check_all(place, walking.calm)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("503 SlowDown", 75, r"cannot \w+ s3://.*: SlowDown, 30 times\. Run the same command again\."),
        ("reset", 75, r"cannot \w+ s3://.*: ConnectionClosedError, 30 times\. Run the same command again\."),
        ("400 ExpiredToken", 2, r"cannot \w+ s3://.*: the credentials have expired \(ExpiredToken\)\. Renew them .*"),
    ],
)
def test_a_store_that_is_lost_during_work_is_told_and_the_same_command_goes_on(
    place: Place, network: Proxy, kind: Kind, code: int, message: str
) -> None:
    walking = walk(place, steps=60, pause=0.05)
    child = place.start(*walking.command)
    wait_for_checkpoint(place, walking, child)
    calls = len(network.seen)
    network.storm(1, kind)
    ended = child.end()
    assert code == 75 or len(network.seen) - calls <= 10, "what does not pass was tried again and again"
    assert ended.code == code, ended.said
    assert len(ended.message) == 1 and re.fullmatch(message, ended.message[0]), ended.said
    network.calm()
    before = published(place, walking)
    ended = place.run(*walking.quick)
    assert ended.code == 0, ended.said
    assert resumed_at(ended.said) == before + 1
    check_all(place, walking.calm)
