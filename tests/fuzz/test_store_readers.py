"""What lies in a store, is given as parameters or answered by a server is read, or refused with its name."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import pytest
from pydantic import BaseModel

from kit.fuzz import Reader, fuzz
from kit.judge_parts import RUBRIC
from kit.scripted_openai import Call
from kit.scripted_vendors import anthropic_error, google_error, message
from kit.scripted_vendors import generated as content
from kit.text_servers import choice, native
from tuneline.commands.removal.gc import collect
from tuneline.commands.removal.trace import read_ids, trace_lines
from tuneline.commands.show import forgotten_note, run_lines
from tuneline.commands.status import status_of
from tuneline.commands.watch import run_list, status_lines
from tuneline.data.rubric import Rubric
from tuneline.engine.addresses.given import known_from
from tuneline.engine.checkpoints import State
from tuneline.engine.heartbeat import Beat, PlannedStep, PlannedSteps
from tuneline.engine.journal import StoreJournal
from tuneline.engine.ledger import Paid, Spending
from tuneline.engine.lineage import trace
from tuneline.engine.records import (
    Failure,
    Forgotten,
    InputPin,
    Manifest,
    Mark,
    OutputRecord,
    Pin,
    Provenance,
    pinned_manifest,
    read,
)
from tuneline.engine.runfile import read_run_parameters
from tuneline.errors import Fault, LlmRejected, Unreadable, UserError
from tuneline.judge.answer import read_answers
from tuneline.llm.announced import read_announced
from tuneline.llm.batches.anthropic import AnthropicBatches
from tuneline.llm.batches.bodies import (
    AnthropicBatch,
    AnthropicItem,
    AnthropicList,
    OpenAiBatch,
    OpenAiItem,
    OpenAiList,
    outcome,
    read_body,
    read_lines,
)
from tuneline.llm.batches.openai import OpenAiBatches
from tuneline.llm.completion import CompletionConfig
from tuneline.llm.config import AnthropicConfig, GoogleConfig, OpenAiConfig
from tuneline.llm.providers import anthropic, google, openai
from tuneline.llm.providers.completions import read_choice, read_native
from tuneline.llm.providers.openai_reply import object_in
from tuneline.llm.providers.refusals import Refused, fitting_tokens, read_refusal, unwanted
from tuneline.stage import Cost, InputRecord, Metrics, Usage, installed_stages
from tuneline.store.base import FileRecord
from tuneline.store.file import FileStore

HASH = "ab" * 32
RESULT = f"results/slicer/{HASH}"
STORED = FileRecord(key=f"{RESULT}/one/slices.jsonl", sha256=HASH, size=3)
OUTPUT = OutputRecord(kind="file", path="slices.jsonl", sha256=HASH, files={"slices.jsonl": STORED})
MANIFEST = Manifest(
    stage="slicer", variant=None, version=1, fingerprint=HASH, params={"a": {"b": 1}},
    inputs={"transcripts": InputRecord(uri="file:///t", sha256=HASH, size=3, count=1)}, outputs={"slices": OUTPUT},
    metrics=Metrics(headline="3 slices", counts={"a": 1}, cost=Cost(total_usd=1.5, now_usd=0.5)), seconds=1.5,
    provenance=Provenance(image=None, commit=None, packages={"a": "1"}), started_at="2026", finished_at="2027",
)  # fmt: skip
FIRST_FORM = {
    **json.loads(MANIFEST.model_dump_json()), "record": 1, "metrics": {"headline": "3", "seconds": 1, "cost_usd": 2}
}  # fmt: skip
del FIRST_FORM["seconds"]
SPENDING = Spending(
    stage="slicer", attempt="one", paid=(Paid(role="judge", model="m", usage=Usage(calls=2, cost_usd=0.5), lost=1),)
)
PIN = Pin(stage="slicer", fingerprint=HASH)
BEAT = Beat(
    node="slicer", attempt="one", done=1, total=3, per_second=0.5, note="é", started_at="2026-11-26T01:00:00+00:00",
    beat_at="2099-11-26T01:00:00+00:00",
)  # fmt: skip
STEPS = PlannedSteps(steps=(PlannedStep(node="slicer", needs=("assessor",)),), max_usd=2.0)
FAILURE = Failure(
    stage="slicer", attempt="one", exit_code=1, type="KeyError", message=None, frames=["a.py:1 f"], failed_at="2028"
)  # fmt: skip
ROWS = [{"name": "run", "value": "r"}, {"name": "inputs", "value": '{"transcripts": "s3://b/t"}'}]
ANSWER = json.dumps({c: {"reason": "so", "answer": "YES"} for c in ("POLITE", "ASKS", "SAFE")})
REPLY = {
    "choices": [{"message": {"content": "é", "refusal": None}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
}  # fmt: skip


def stored(key: str, read_store: Callable[[FileStore], object]) -> Callable[[Path], object]:
    """Return what reads a store in which the file stands under `key`."""

    def read_from(path: Path) -> object:
        store = FileStore(path.parents[key.count("/")])
        if not key.startswith("runs/"):
            store.put("runs/r/slicer.json", PIN.to_bytes())
        return read_store(store)

    return read_from


def shown(store: FileStore) -> None:
    for line in run_lines(store, "r"):
        assert line.isprintable(), repr(line)


def everything(store: FileStore) -> None:
    shown(store)
    pinned_manifest(store, "r", "slicer")


def traced(store: FileStore) -> None:
    for line in trace_lines(store, trace(store, ["eva", "*"])):
        assert line.isprintable(), repr(line)


def looked_at(store: FileStore) -> None:
    for line in (*status_lines(status_of(store, "r")), *run_list(store)):
        assert line.isprintable(), repr(line)


def marked(store: FileStore) -> None:
    forgotten_note(store, MANIFEST)


def restored(store: FileStore) -> None:
    State(store, f"{RESULT}/state", "one", store.root / "scratch" / "state").restore()


def journal(store: FileStore) -> None:
    StoreJournal(store, "journals/a/b", "one").get("k")


def parameters(path: Path) -> object:
    return read_run_parameters(b64encode(path.read_bytes()).decode(), installed_stages(), data=(Path("/data"),))


def said(path: Path) -> None:
    try:
        read_answers(path.read_bytes().decode(errors="replace"), Rubric.model_validate(RUBRIC))
    except Unreadable:
        return


def replied(path: Path) -> None:
    config, body = OpenAiConfig(provider="openai", model="m", base_url="http://localhost/v1"), path.read_bytes()
    for status in (200, 400, 404, 413, 429, 500):
        refusal = read_refusal(status, {}, body)
        assert fitting_tokens(refusal, 8192) in (None, *range(8193))
        assert unwanted(refusal, ("seed", "max_tokens")) in (None, "seed", "max_tokens")
        assert isinstance(openai.fault_of(config, status, {}, body), Exception)
    try:
        assert "\ud800" not in openai.answer_of(config, body).text
    except (Fault, LlmRejected, UserError):
        return


def announced(path: Path) -> None:
    words = path.read_bytes().decode("latin-1").split()
    names = ("limit", "remaining", "reset")
    for limit in read_announced(
        {f"x-ratelimit-{name}-requests": word for name, word in zip(names, words, strict=False)}
    ):
        assert 0 < limit.per_s <= limit.limit and 0 <= limit.remaining <= limit.limit


def messaged(path: Path) -> None:
    config, body = AnthropicConfig(provider="anthropic", model="m"), path.read_bytes()
    assert isinstance(anthropic.fault_of(config, 400, {}, body), Exception)
    try:
        anthropic.read_reply(body, config)
    except (Fault, LlmRejected, UserError):
        return


def generated(path: Path) -> None:
    config, body = GoogleConfig(provider="google", model="m"), path.read_bytes()
    assert isinstance(google.fault_of(config, 400, {}, body), Exception)
    try:
        google.read_reply(body, config)
    except (Fault, LlmRejected, UserError):
        return


@cache
def vendors() -> tuple[OpenAiBatches, AnthropicBatches]:
    settings = {"model": "m", "base_url": "http://localhost/v1"}
    return (
        OpenAiBatches(OpenAiConfig(provider="openai", **settings), lambda name: name),
        AnthropicBatches(AnthropicConfig(provider="anthropic", **settings), lambda name: name),
    )


def continued(path: Path) -> None:
    body = path.read_bytes()
    config = CompletionConfig(provider="openai", model="m", base_url="http://localhost", dialect="vllm")
    for reader in (read_choice, lambda body, config: read_native(object_in(body, "text", "content"), config)):
        with suppress(Fault, Refused):
            read = reader(body, config)
            assert "\ud800" not in read.text and all(value <= 0 for _, value in read.top)


def batched(path: Path) -> None:
    openai, claude = vendors()
    content = path.read_bytes()
    with suppress(Fault):
        for item in read_lines(content, OpenAiItem):
            outcome(partial(openai.result, item))
    with suppress(Fault):
        for other in read_lines(content, AnthropicItem):
            outcome(partial(claude.result, other))
    kinds: list[type[BaseModel]] = [OpenAiBatch, OpenAiList, AnthropicBatch, AnthropicList]
    for kind in kinds:
        with suppress(Fault):
            read_body(content, kind)


def line(content: object) -> bytes:
    return f"{json.dumps(content)}\n".encode()


BEAT_KEY, STEPS_KEY = "runs/r/live/slicer.json", "runs/r/live/steps.json"
MANIFEST_KEY, PIN_KEY, FAILURE_KEY = f"{RESULT}/manifest.json", "runs/r/slicer.json", "runs/r/failed/slicer-one.json"
SPENT_KEY = "runs/r/spent/slicer-one.json"
MARK_KEY, FORGOTTEN_KEY = f"{RESULT}/forgotten.json", f"forgotten/{HASH}.json"
INPUT_KEY, STATE_KEY, JOURNAL_KEY = "runs/r/inputs/rubric.json", f"{RESULT}/state/index.json", "journals/a/b/x-0.jsonl"
STATE = {"entries": {"checkpoint-1": [{"key": f"{RESULT}/state/x/checkpoint-1/a", "sha256": HASH, "size": 3}]}}
ASKED = Call(0, {"n_predict": 1}, {}, 0.0)
ITEM, SAID = {"custom_id": "a"}, {"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}
READERS = [
    Reader("manifest", MANIFEST_KEY, stored(MANIFEST_KEY, everything), MANIFEST.to_bytes()),
    Reader("old manifest", MANIFEST_KEY, stored(MANIFEST_KEY, everything), line(FIRST_FORM)),
    Reader("manifest for gc", MANIFEST_KEY, stored(MANIFEST_KEY, lambda s: collect(s, 0)), MANIFEST.to_bytes()),
    Reader("pin for gc", PIN_KEY, stored(PIN_KEY, lambda s: collect(s, 0)), PIN.to_bytes()),
    Reader("failure", FAILURE_KEY, stored(FAILURE_KEY, shown), FAILURE.to_bytes()),
    Reader("sign of life", BEAT_KEY, stored(BEAT_KEY, looked_at), BEAT.to_bytes()),
    Reader("steps", STEPS_KEY, stored(STEPS_KEY, looked_at), STEPS.to_bytes()),
    Reader("spending", SPENT_KEY, stored(SPENT_KEY, shown), SPENDING.to_bytes()),
    Reader(
        "input pin", INPUT_KEY, stored(INPUT_KEY, lambda s: read(InputPin, s, INPUT_KEY)),
        InputPin(uri="file:///t", sha256=HASH, files={"a": HASH}).to_bytes(),
    ),
    Reader("checkpoints", STATE_KEY, stored(STATE_KEY, restored), line(STATE)),
    Reader("journal", JOURNAL_KEY, stored(JOURNAL_KEY, journal), line({"key": "k", "row": {"a": "é"}})),
    Reader("journal to trace in", JOURNAL_KEY, stored(JOURNAL_KEY, traced), line({"key": "eva", "row": {"a": "é"}})),
    Reader("mark", MARK_KEY, stored(MARK_KEY, marked), Mark(transcripts=[HASH]).to_bytes()),
    Reader(
        "forgotten", FORGOTTEN_KEY, stored(FORGOTTEN_KEY, traced),
        Forgotten(id_sha256=HASH, content=[HASH], removed=[f"slicer/{HASH}"], forgotten_at="2026").to_bytes(),
    ),
    Reader("ids", "ids.txt", lambda path: read_ids([], path), b"eva\nbob\n"),
    Reader("known", "known.json", lambda p: known_from(p.read_bytes()), line({"a": [3, "stamp", HASH]})),
    Reader("parameters", "parameter", parameters, line(ROWS)),
    Reader("answer", "answer.txt", said, ANSWER.encode()),
    Reader("reply", "reply.json", replied, line(REPLY)),
    Reader("text", "text.json", continued, choice(top={" yes": -0.1}, stop_reason="\nQ:").body),
    Reader("text of llama-server", "text.json", continued, native(ASKED, top={" yes": -0.1}).body),
    Reader("batch of OpenAI", "batch.jsonl", batched, line({**ITEM, "response": {"status_code": 200, "body": REPLY}})),
    Reader(
        "batch of Anthropic", "batch.jsonl", batched, line({**ITEM, "result": {"type": "succeeded", "message": SAID}})
    ),
    Reader("reply's error", "error.json", replied, line({"error": {"message": "max_tokens is too large: 8192",
           "param": "seed", "code": 400, "metadata": {"raw": '{"loc": ["body", "seed"]}'}}})),
    Reader("limits", "headers.txt", announced, b"500 17 1m30.5s"),
    Reader("message", "message.json", messaged, message("hello", thinking="hm", stop_details={"category": "bio"}).body),
    Reader("message's error", "error.json", messaged, anthropic_error(400, "api_error", "no", "x").body),
    Reader("content", "content.json", generated, content("hello", promptFeedback={"blockReason": "OTHER"}).body),
    Reader("content's error", "error.json", generated, google_error(400, "INTERNAL", "no", {"retryDelay": "3s"}).body),
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_anything_in_a_store_is_read_or_refused_with_its_name(reader: Reader) -> None:
    fuzz(reader)


def test_a_pin_that_names_anything_is_refused_by_its_name(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for stage, fingerprint in (("../..", HASH), ("slicer", "../../x"), ("a\x1b", ""), ("slicer", "x" * 5000)):
        store.put(PIN_KEY, line({"stage": stage, "fingerprint": fingerprint}))
        with pytest.raises(UserError, match=r"^runs/r/slicer\.json: not a record that Tuneline wrote"):
            shown(store)
