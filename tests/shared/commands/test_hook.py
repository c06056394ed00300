"""What is said of a workflow that has ended: once, to one address, by Argo's word and the store's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from kit.comparing import make_run
from kit.places import ROOT
from kit.toys import STAGES
from kit.workflow_parameters import encode
from tuneline.commands.hook import MOST, End, Step, end_of, first_failure
from tuneline.engine.heartbeat import Beat
from tuneline.engine.records import now
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.store.base import Store, open_store

WORDS = "zebra-canary heron-canary"
ANSWER_CANARY = "answer-canary"


class Listener:
    """An address that takes a POST and answers with `codes` in turn, the last one from then on."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.bodies, self.headers = list(codes), list[dict[str, Any]](), list[dict[str, str]]()
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        self.bodies.append(json.loads(body))
        self.headers.append({name.lower(): value for name, value in headers.items()})
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]


@contextmanager
def listening(*codes: int) -> Iterator[Listener]:
    listener = Listener(*codes)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            code = listener.take(self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers))
            self.send_response(code)
            self.send_header("Location", f"{listener.url}/elsewhere")
            self.end_headers()
            self.wfile.write(ANSWER_CANARY.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield listener
        server.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def as_argo(nodes: list[dict[str, Any]] | None) -> str:
    """What `workflow.failures` is: Go's JSON, quoted once more, in base64."""
    return b64encode(json.dumps(json.dumps(nodes), ensure_ascii=False).encode()).decode()


def node(name: str, message: str, at: str) -> dict[str, Any]:
    return {"displayName": name, "message": message, "templateName": name.partition("(")[0], "phase": "Failed",
            "podName": f"finetune-x7k2p-{name}", "finishedAt": f"2026-11-26T12:{at}Z"}  # fmt: skip


FAILED = [
    node("finetune-x7k2p", "", "30:00"),
    node("trainer", "retryStrategy.expression evaluated to false", "20:00"),
    node("trainer(1)", "main: Error (exit code 2): parameter trainer: learning_rate: -1 is not > 0", "20:00"),
    node("trainer(0)", "main: Error (exit code 75): the store cannot be reached", "10:00"),
    node("slicer(0)", "main: Error (exit code 75): the Hub cannot be reached", "05:00"),  # its second attempt was good
    node("generator-part(1:2/3)", "No more retries left", "25:00"),
    node("generator-part(1:2/3)(20)", "pod deleted", "25:00"),
]


def variables(
    status: str = "Succeeded", run: str = "", failures: list[dict[str, Any]] | None = None, goal: str = "finetune"
) -> dict[str, str]:
    rows = [{"name": "run", "value": run}, {"name": "goal", "value": goal}, {"name": "inputs", "value": "{}"}]
    return {
        "WORKFLOW": "finetune-x7k2p", "PIPELINE": "finetune", "STATUS": status, "SECONDS_TAKEN": "93.251000",
        "FAILURES": as_argo(failures), "RUN_FILE": encode(rows),
    }  # fmt: skip


def made(folder: Path, store: Store, words: str = WORDS) -> None:
    """Make the run `demo` of two small stages, as far as it goes."""
    (folder / "words.txt").write_text(words.replace(" ", "\n"))
    (folder / "demo.yaml").write_text("inputs: {words: words.txt}\n")
    run_file = read_run_file(folder / "demo.yaml", STAGES)
    for step in run_file.steps:
        with new_job(run_file, step, store, folder / "scratch") as job:
            run_job(job)


def test_a_run_that_compared_two_models_is_told_with_its_verdict_and_figures(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "demo")
    end = end_of(variables(run="demo"), store)
    assert (end.run, end.pipeline, end.workflow) == ("demo", "finetune", "finetune-x7k2p")
    assert (end.status, end.exit_code, end.failed_task, end.cause) == ("succeeded", 0, None, None)
    assert end.verdict == "better: made up" and end.text == "finetune demo succeeded: better: made up"
    assert end.seconds == 93.3 and {step.state for step in end.steps} == {"done"}
    assert {step.step for step in end.steps} == {"gguf-converter@base", "gguf-converter", "evaluator"}
    assert all(step.seconds is not None and step.text for step in end.steps)


def test_a_workflow_that_compared_nothing_does_not_tell_the_verdict_of_an_earlier_one(
    store: Store, tmp_path: Path
) -> None:
    make_run(tmp_path, store, "demo")
    end = end_of(variables(run="demo", goal="slicer"), store)
    assert end.exit_code == 0 and end.verdict is None and end.report is None


def test_a_policy_that_says_no_is_told_with_the_verdict_and_its_code(store: Store, tmp_path: Path) -> None:
    make_run(tmp_path, store, "demo", outcome="worse")
    failures = [node("evaluator", "", "20:00"), node("evaluator(0)", "main: Error (exit code 3)", "20:00")]
    end = end_of(variables("Failed", "demo", failures), store)
    assert (end.status, end.exit_code, end.failed_task) == ("failed", 3, "evaluator")
    assert end.verdict == "worse: made up"


def test_the_task_that_failed_first_is_named_and_attempts_that_were_made_good_are_not() -> None:
    failure = first_failure(as_argo(FAILED))
    assert failure == ("trainer", 2, "parameter trainer: learning_rate: -1 is not > 0")
    parts = [one for one in FAILED if "trainer" not in one["displayName"]]
    assert first_failure(as_argo(parts)) == ("generator-part(1:2/3)", None, "pod deleted")
    out_of_memory = [node("trainer", "", "1:00"), node("trainer(0)", "main: OOMKilled (exit code 137)", "1:00")]
    assert first_failure(as_argo(out_of_memory)) == ("trainer", 137, "main: OOMKilled (exit code 137)")


def test_a_list_of_failures_that_is_empty_or_cut_names_nothing(store: Store) -> None:
    cut = b64encode(json.dumps(json.dumps(FAILED)).encode()[:200]).decode()
    assert [first_failure(text) for text in (as_argo(None), as_argo([]), cut)] == [None] * 3
    end = end_of(variables("Error") | {"FAILURES": cut}, store)
    assert (end.status, end.exit_code, end.failed_task) == ("failed", None, None)
    assert end.text == "finetune finetune-x7k2p failed" and end.steps == ()


def test_a_cause_is_one_line_of_a_bounded_length() -> None:
    long = [node("check", "", "1:00"), node("check(0)", "main: Error (exit code 2): a\nb\x1b[31m" + "c" * 9000, "1:00")]
    failure = first_failure(as_argo(long))
    assert failure and failure.cause.startswith("a b") and "\x1b" not in failure.cause
    assert len(failure.cause) == MOST


def test_a_run_whose_name_is_refused_is_told_by_the_workflows(store: Store) -> None:
    assert end_of(variables("Failed", "../../other", FAILED), store).run == "finetune-x7k2p"


def test_a_step_at_work_when_its_workflow_ended_is_lost(store: Store, tmp_path: Path) -> None:
    made(tmp_path, store)
    [key] = [e.key for e in store.list("runs/demo/adder")]
    store.delete([key])
    beat = Beat(node="adder", attempt="a", started_at=now(), beat_at=now())
    store.put("runs/demo/live/adder.json", beat.to_bytes())
    assert {s.step: s.state for s in end_of(variables("Failed", "demo", FAILED), store).steps}["adder"] == "lost"


def pod(folder: Path, url: str, header: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Start the program as the template does."""
    environ = os.environ | variables(run="demo") | {"TUNELINE_STORE": str(folder / "store"), "HOOK_URL": url}
    command = [sys.executable, "-m", "tuneline.commands.hook"]
    environ |= {"HOOK_HEADER": header} | more
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=folder)


def test_a_pod_tells_it_once_with_the_header_and_no_transcript(store: Store, tmp_path: Path) -> None:
    made(tmp_path, store)
    with listening(200) as listener:
        done = pod(tmp_path, f"{listener.url}/ended", "Authorization: Bearer key-canary\n")
    assert done.returncode == 0, done.stderr
    [body], [headers] = listener.bodies, listener.headers
    assert headers["authorization"] == "Bearer key-canary" and headers["content-type"] == "application/json"
    assert body["run"] == "demo" and body["status"] == "succeeded" and body["exit_code"] == 0
    assert {step["step"]: step["state"] for step in body["steps"]}["counter"] == "done"
    told = json.dumps(body) + done.stdout + done.stderr
    assert "canary" not in told, "a word of a transcript, the key or somebody's answer is told"


@pytest.mark.parametrize(("status", "code", "said"), [(403, 2, "answers 403"), (302, 2, "answers 302"),
                                                      (503, 75, "answers 503"), (429, 75, "answers 429")])  # fmt: skip
def test_an_address_that_refuses_ends_with_2_and_one_that_is_busy_with_75(
    tmp_path: Path, status: int, code: int, said: str
) -> None:
    with listening(status) as listener:
        done = pod(tmp_path, f"{listener.url}/path-canary", "X-Key: key-canary")
    assert done.returncode == code and said in done.stderr
    assert len(listener.bodies) == 1, "a redirect was followed, or it was told twice"
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "header", "code"),
    [
        ("http://127.0.0.1:1/path-canary", "", 75),
        ("", "", 2),
        ("file:///etc/canary", "", 2),
        ("http://127.0.0.1:1/", "key-canary", 2),
        ("http://127.0.0.1:1/", "X-Key: a\r\nX-Other: canary", 2),
    ],
)
def test_an_address_that_is_none_or_a_header_that_is_none_is_named_and_not_shown(
    tmp_path: Path, url: str, header: str, code: int
) -> None:
    done = pod(tmp_path, url, header)
    assert done.returncode == code and "Traceback" not in done.stderr and "canary" not in done.stderr
    assert "HOOK_" in done.stderr or "cannot be reached" in done.stderr


def test_a_store_that_cannot_be_read_leaves_what_argo_says(tmp_path: Path) -> None:
    with listening(204) as listener:
        done = pod(tmp_path, listener.url, TUNELINE_STORE=str(tmp_path / "none"), STATUS="Failed",
                   FAILURES=as_argo(FAILED))  # fmt: skip
    assert done.returncode == 0, done.stderr
    [body] = listener.bodies
    assert body["exit_code"] == 2 and body["steps"] == [] and body["cause"].startswith("parameter trainer")
    assert body["text"] == "finetune demo failed in trainer with exit code 2: " + body["cause"]


def test_a_variable_that_the_template_sets_is_missed_by_name(store: Store) -> None:
    with pytest.raises(UserError, match="STATUS"):
        end_of({name: text for name, text in variables().items() if name != "STATUS"}, store)


def test_the_page_on_installing_names_every_field_that_is_sent() -> None:
    text = (ROOT / "docs" / "install-on-your-cluster.md").read_text()
    table = text[text.index("## Being told of an end") : text.index("No transcript is in any of it")]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(End.model_fields)
    assert all(f"`{name}`" in table for name in Step.model_fields if name != "step")
