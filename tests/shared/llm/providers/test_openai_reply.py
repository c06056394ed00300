"""Answers of chat completions as servers give them: errors beside them, streams, comments, and what is billed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kit.scripted_openai import Answer, serve_openai
from tuneline.errors import Fault, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.openai_reply import read_reply
from tuneline.llm.providers.provider import Reply

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
LOCAL = OpenAiConfig(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")
ROUTER = LOCAL.model_copy(update={"base_url": "https://openrouter.ai/api/v1"})


def ask(body: bytes) -> Reply:
    with serve_openai(lambda _: Answer(200, body, {"content-type": "application/json"})) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            return client.complete([{"role": "user", "content": "Hello"}])


def body(content: str | None = "hello", finish: str | None = "stop", **beside: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice], **beside}).encode()


def events(*chunks: object, ends: bool = True) -> bytes:
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(chunk)}" for chunk in chunks)]
    return "\n\n".join([*lines, *(["data: [DONE]"] if ends else []), ""]).encode()


def piece(text: str, finish: str | None = None, **beside: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}], **beside}


NO_MONEY = {"code": 402, "message": "Insufficient credits"}


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"error": NO_MONEY, "choices": []}).encode(),
        body("", None, error=NO_MONEY),
        body("half an ans", None, error=NO_MONEY),
        events({"error": NO_MONEY}),
        events(piece("half"), piece("", "error", error=NO_MONEY)),
        b'event: error\ndata: {"message": "Insufficient credits", "code": 402}\n\n',
        json.dumps([{"error": NO_MONEY}]).encode(),
    ],
    ids=["no choice", "an empty choice", "half an answer", "a stream", "the end of a stream", "an event", "a list"],
)
def test_an_error_beside_an_answer_is_that_error_and_never_an_empty_answer(said: bytes) -> None:
    with pytest.raises(UserError, match="HTTP 402: the account has no money"):
        ask(said)


@pytest.mark.parametrize(
    "said",
    [
        body("half an ans", None, error={"code": 502, "message": "Provider returned error"}),
        events(piece("half"), piece("", "error", error={"code": 502})),
        events(piece("half"), ends=False),
    ],
    ids=["an error", "an error in a stream", "a stream without an end"],
)
def test_half_an_answer_may_be_billed_and_is_asked_for_three_times(said: bytes) -> None:
    with pytest.raises(Temporary, match="after 3 attempts"):
        ask(said)


def test_an_answer_that_breaks_off_within_its_body_may_be_billed() -> None:
    cut = Answer(200, body(), {"content-type": "application/json"}, missing=50)
    with serve_openai(lambda _: cut) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with (
            LlmClient(config, lambda name: name, 60, patience=HASTY) as client,
            pytest.raises(Temporary, match=r"broke off .*, after 3 attempts"),
        ):
            client.complete([{"role": "user", "content": "Hello"}])
    assert len(server.calls) == 3


def test_comments_and_streams_are_read_and_their_usage_stands_in_the_last_piece() -> None:
    assert ask(b": OPENROUTER PROCESSING\n\n" + body()).text == "hello"
    assert ask(b": PROCESSING\r\n\r\n: PROCESSING\r\n" + body()).text == "hello"
    used = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    reply = ask(events(piece("hel"), piece("lo", "stop"), used))
    assert (reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens) == ("hello", "stop", 9, 2)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 400,
         "completion_tokens_details": {"reasoning_tokens": 280}},
        {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 400},
        {"prompt_tokens": 100, "completion_tokens": 300, "total_tokens": 400,
         "completion_tokens_details": {"reasoning_tokens": 280}},
    ],
    ids=["xAI", "Gemini", "OpenAI"],
)  # fmt: skip
def test_thoughts_are_paid_for_whether_a_server_counts_them_among_the_answer_or_beside_it(usage: object) -> None:
    assert read_reply(body(usage=usage), LOCAL).output_tokens == 300


def test_a_total_that_cannot_be_changes_nothing() -> None:
    for total in (None, "many", -5, 7, [400]):
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": total}
        assert read_reply(body(usage=usage), LOCAL).output_tokens == 20


def test_what_openrouter_says_that_a_call_cost_is_what_it_cost_unless_prices_are_given() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "cost": 0.0123}
    assert read_reply(body(usage=usage), ROUTER).cost_usd == 0.0123
    own = {**usage, "cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}
    assert read_reply(body(usage=own), ROUTER).cost_usd == 0.021
    priced = ROUTER.model_copy(update={"input_usd": 1.0, "output_usd": 1.0})
    assert read_reply(body(usage=usage), priced).cost_usd == 120e-6
    elsewhere = LOCAL.model_copy(update={"base_url": "https://not-openrouter.ai/v1"})
    assert read_reply(body(usage=usage), elsewhere).cost_usd is None


def test_an_end_of_a_stream_that_nobody_marks_is_a_fault() -> None:
    with pytest.raises(Fault, match="ended before its end"):
        read_reply(events(piece("half"), ends=False), LOCAL)
    assert read_reply(events(piece("whole")), LOCAL).text == "whole"
