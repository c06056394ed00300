"""What a second terminal sees of a run: while it works, when it is killed, stopped, broken, and done."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kit.places import KIT
from kit.toys import STAGES
from tuneline.commands.removal.gc import collect
from tuneline.commands.status import RunStatus, StepStatus, status_of
from tuneline.commands.tuneline import app
from tuneline.commands.watch import page_of, seconds_of, status_lines
from tuneline.engine.heartbeat import Beat, PlannedSteps
from tuneline.engine.layout import Node, live_key, live_steps_key
from tuneline.engine.records import read
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.stage import Part
from tuneline.store.base import Store, open_store

COUNTER = Node("counter")


class Desk:
    """A run `demo` of counter and adder in a store, done in this process or in one that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, str(folder / "store")
        self.store: Store = open_store(self.uri)
        self.words(*(f"w{n}" for n in range(40)))

    def words(self, *words: str, pause: float = 0.1) -> None:
        (self.folder / "words.txt").write_text("\n".join(words))
        content = {"inputs": {"words": "words.txt"}, "counter": {"pause": pause}}
        (self.folder / "demo.yaml").write_text(yaml.safe_dump(content))

    def start(self) -> subprocess.Popen[bytes]:
        toys = [sys.executable, str(KIT / "toys.py"), str(self.folder / "demo.yaml"), self.store.uri]
        return subprocess.Popen([*toys, str(self.folder / "scratch"), "-1"], stderr=subprocess.DEVNULL)

    def finish(self) -> None:
        run_file = read_run_file(self.folder / "demo.yaml", STAGES)
        for step in run_file.steps:
            with new_job(run_file, step, self.store, self.folder / "scratch") as job:
                run_job(job)

    def step(self, name: str = "counter") -> StepStatus:
        return next(step for step in status_of(self.store, "demo").steps if step.step == name)

    def wait_for(self, done: int) -> StepStatus:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (self.store.get(live_key("demo", COUNTER)) or b"") and (step := self.step()).done and step.done >= done:
                return step
            time.sleep(0.05)
        raise AssertionError("no progress is seen")

    def age(self, seconds: float, part: Part | None = None) -> None:
        """Let a sign of life be older."""
        beat = self.beat(part)
        then = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
        self.store.put(live_key("demo", COUNTER, part), beat.model_copy(update={"beat_at": then}).to_bytes())

    def beat(self, part: Part | None = None) -> Beat:
        beat = read(Beat, self.store, live_key("demo", COUNTER, part))
        assert beat is not None
        return beat

    def tuneline(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "--store", self.store.uri])
        return done.exit_code, done.output


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def running(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    with desk.start() as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_a_second_process_sees_how_far_a_stage_is_and_what_waits_for_it(
    desk: Desk, running: subprocess.Popen[bytes]
) -> None:
    step = desk.wait_for(1)
    assert (step.state, step.total, step.processes, step.lost) == ("running", 40, 1, 0)
    assert desk.step("adder").state == "waiting" and desk.step("adder").text == "for counter, counter@short"
    code, said = desk.tuneline("status", "demo")
    assert code == 0 and "counter        running  " in said and "/40 " in said
    assert running.wait(120) == 0
    assert desk.step().state == "done" and desk.step().text == "40 words"
    assert [e.key for e in desk.store.list("runs/demo/live/")] == [live_steps_key("demo")], "a sign of life is left"


@pytest.mark.slow
def test_a_killed_stage_is_lost_within_seventy_seconds_and_running_again_when_it_goes_on(
    desk: Desk, running: subprocess.Popen[bytes]
) -> None:
    desk.wait_for(5)
    running.kill()
    running.wait()
    assert desk.step().state == "running", "one that paused for a moment is called lost"
    desk.age(61)
    lost = desk.step()
    assert lost.state == "lost" and lost.text.endswith("of 40; run the same command again")
    code, said = desk.tuneline("status", "demo", "--wait")
    assert code == 75 and "lost" in said
    with desk.start() as again:
        deadline = time.monotonic() + 60
        while desk.step().state == "lost" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert desk.step().state == "running" and again.wait(120) == 0
    assert desk.step().state == "done"


@pytest.mark.slow
def test_a_stopped_stage_says_so_at_once(desk: Desk, running: subprocess.Popen[bytes]) -> None:
    desk.wait_for(1)
    running.send_signal(signal.SIGTERM)
    assert running.wait(120) != 0
    assert desk.step().state == "stopped" and desk.beat().ended == 75
    assert desk.tuneline("status", "demo", "--wait")[0] == 75


def test_a_failure_is_told_with_its_reason_until_a_result_takes_its_place(desk: Desk) -> None:
    desk.words("a", "late-wrong", pause=0)
    with pytest.raises(UserError, match="found late"):
        desk.finish()
    assert (desk.step().state, desk.step().text) == ("failed", "words:2: found late")
    assert desk.step("adder").state == "waiting" and status_of(desk.store, "demo").is_over
    code, said = desk.tuneline("watch", "demo")
    assert code == 2 and "counter failed: words:2: found late" in said
    desk.words("a", "bug", pause=0)
    with pytest.raises(UserError, match="other inputs"):
        desk.finish()
    assert desk.step().state == "failed", "what was refused before work changed the status"


def test_what_a_stage_may_not_say_stays_unsaid_in_a_bug(desk: Desk) -> None:
    desk.words("a", "bug", pause=0)
    with pytest.raises(RuntimeError):
        desk.finish()
    assert desk.step().text.startswith("RuntimeError at ") and "canary" not in desk.tuneline("status", "demo")[1]


def test_a_run_that_is_done_is_over_and_listed_with_what_it_came_to(desk: Desk) -> None:
    desk.words("a", "bb", pause=0)
    desk.finish()
    code, said = desk.tuneline("status", "demo", "--wait", "--timeout", "5s")
    assert code == 0 and "3 of 3 done" in said
    assert desk.tuneline("watch", "demo")[0] == 0
    code, said = desk.tuneline("ls")
    assert code == 0 and said.startswith("demo  done ") and "adder: total 3" in said
    assert re.sub(r"\d+", "0", desk.tuneline("status")[1]) == re.sub(r"\d+", "0", said), "but for the time since"


def test_a_run_that_is_not_there_is_refused_with_those_that_are(desk: Desk) -> None:
    desk.words("a", pause=0)
    desk.finish()
    for words in (("status", "other"), ("watch", "other"), ("open", "other")):
        code, said = desk.tuneline(*words)
        assert code == 2 and "no run other" in said and "it has demo" in said
    assert desk.tuneline("status", "--html", "x")[0] == 2
    assert json.loads(desk.tuneline("status", "--json")[1]) == json.loads(desk.tuneline("ls", "--json")[1])


def test_a_store_without_runs_says_so_and_a_name_like_another_is_asked_about(desk: Desk) -> None:
    assert desk.tuneline("ls") == (0, f"{desk.store.uri} has no runs; another store is named with --store\n")
    assert json.loads(desk.tuneline("ls", "--json")[1]) == []
    desk.words("a", pause=0)
    desk.finish()
    assert desk.tuneline("status", "dmo")[1].endswith("it has demo; did you mean demo?\n")


def test_a_page_that_cannot_be_written_is_named(desk: Desk, tmp_path: Path) -> None:
    desk.words("a", pause=0)
    desk.finish()
    code, said = desk.tuneline("status", "demo", "--html", str(tmp_path / "no" / "page.html"))
    assert code == 2 and said.startswith(f"{tmp_path}/no/page.html: No such file or directory")


def beat(done: int, part: str | None, *, ended: int | None = None, rate: float | None = 1.0, age: int = 0) -> Beat:
    at = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="seconds")
    started = (datetime.now(UTC) - timedelta(seconds=120)).isoformat(timespec="seconds")
    return Beat(
        node="counter", part=part, attempt="a", done=done, total=100, per_second=rate, started_at=started, beat_at=at,
        ended=ended, note=f"kept {done}",
    )  # fmt: skip


def test_parts_are_added_up_and_a_lost_one_is_no_running_one(desk: Desk) -> None:
    for number, one in enumerate([beat(50, "1-of-3"), beat(30, "2-of-3", age=300), beat(100, "3-of-3", ended=0)], 1):
        desk.store.put(live_key("demo", COUNTER, Part(number, 3)), one.to_bytes())
    step = desk.step()
    assert (step.state, step.done, step.total, step.processes, step.lost) == ("running", 180, 300, 2, 1)
    assert step.seconds_left == 120.0, "the pace is not that of those which live"
    assert step.text == "kept 50"
    [line] = list(status_lines(status_of(desk.store, "demo")))[1:]
    assert line == "counter  running  180/300 ██████████░░░░░░  2 parts, 1 lost  kept 50  2 min left  2 min"
    desk.words("a", pause=0)
    desk.finish()
    assert desk.step().state == "done"
    assert not [e for e in desk.store.list("runs/demo/live/") if ".part-" in e.key], "parts are left when all is done"


def test_money_is_shown_beside_its_limit() -> None:
    steps = (StepStatus(step="assessor", state="running", done=1, total=4, cost_usd=1.25),)
    status = RunStatus(run="r", steps=steps, cost_usd=1.25, max_usd=10, started_at=None, sign_at=None)
    assert next(iter(status_lines(status))) == "run r: 0 of 1 done · $1.25 of $10.00"
    assert list(status_lines(status, 24))[1] == "assessor  running  1/4 …"


def test_json_has_the_form_that_programs_rely_on(desk: Desk) -> None:
    desk.words("a", pause=0)
    desk.finish()
    found = json.loads(desk.tuneline("status", "demo", "--json")[1])
    assert list(found) == ["run", "steps", "cost_usd", "max_usd", "started_at", "sign_at"]
    assert list(found["steps"][0]) == [
        "step", "state", "text", "done", "total", "processes", "lost", "seconds_left", "seconds", "cost_usd", "sign_at",
    ]  # fmt: skip


def test_a_page_reads_itself_again_only_while_the_run_goes_on_and_escapes_what_it_shows(desk: Desk) -> None:
    step = StepStatus(step="assessor", state="failed", text="<script>x\x1b[31m")
    over = RunStatus(run="<b>", steps=(step,), cost_usd=0, max_usd=None, started_at=None, sign_at=None)
    page = page_of(over)
    assert "refresh" not in page and "<script>x" not in page and "\x1b" not in page and "<title>&lt;b&gt;" in page
    assert 'http-equiv="refresh"' in page_of(
        over.model_copy(update={"steps": (StepStatus(step="a", state="running"),)})
    )
    desk.words("a", pause=0)
    desk.finish()
    place = desk.folder / "page.html"
    assert desk.tuneline("status", "demo", "--html", str(place))[0] == 0 and "3 of 3 done" in place.read_text()


def test_a_store_that_cannot_take_a_sign_of_life_stops_nothing(desk: Desk) -> None:
    place = desk.folder / "store" / "runs" / "demo"
    place.mkdir(parents=True)
    (place / "live").write_text("a file where a folder belongs")
    desk.words("a", pause=0)
    desk.finish()
    (place / "live").unlink()
    assert desk.step().state == "done"


def test_a_plan_says_what_is_not_begun(desk: Desk) -> None:
    desk.words("a", "late-wrong", pause=0)
    with pytest.raises(UserError):
        desk.finish()
    plan = read(PlannedSteps, desk.store, live_steps_key("demo"))
    assert plan is not None and [step.node for step in plan.steps][-1] == "adder"


def test_signs_of_life_go_when_they_are_old_and_the_plan_stays(desk: Desk) -> None:
    desk.store.put(live_key("demo", COUNTER), beat(5, None, age=700_000).to_bytes())
    desk.store.put(live_steps_key("demo"), PlannedSteps(steps=()).to_bytes())
    collect(desk.store, 7)
    assert desk.beat().done == 5
    collect(desk.store, 0)
    assert [e.key for e in desk.store.list("runs/demo/")] == [live_steps_key("demo")]


def test_a_log_is_printed_without_what_a_terminal_would_obey(desk: Desk) -> None:
    folder = desk.folder / "store" / "runs" / "demo" / "logs"
    folder.mkdir(parents=True)
    (folder / "counter.log").write_bytes(b"counted\x1b]0;owned\x07 \xff\n")
    code, said = desk.tuneline("logs", "demo", "counter")
    assert code == 0 and said.startswith("counted") and "\x1b" not in said and "\x07" not in said
    code, said = desk.tuneline("logs", "demo", "../../../etc/passwd")
    assert code == 2 and "it has counter" in said


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400)])
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "nan", "1e99", "2 hours", "0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write 90s"):
        seconds_of(text)
