from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from kit.bucket_api import serve_bucket
from kit.judge_parts import CANARY
from kit.scripted_openai import Answer, Call, completion, error, serve_openai
from tuneline.errors import LlmRejected, ServerDown, Stopped, Temporary, UserError
from tuneline.llm.calls import Patience, allow_open_files
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.provider import Reply

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
HELLO = [{"role": "user", "content": f"Hello, {CANARY}"}]


def no_secret(name: str) -> str:
    raise UserError(f"{name} is not set")


def config_of(url: str | None, **settings: Any) -> OpenAiConfig:
    return OpenAiConfig.model_validate({"provider": "openai", "model": "m", "base_url": url, **settings})


def ask(url: str, *, timeout_s: float = 60, patience: Patience = HASTY) -> Reply:
    with LlmClient(config_of(url), no_secret, timeout_s, patience=patience) as client:
        return client.complete(HELLO)


def at_first(failures: int, answer: Answer) -> Callable[[Call], Answer]:
    return lambda call: answer if call.number < failures else completion("hello")


def test_a_reply_carries_text_tokens_and_cost() -> None:
    config = {"input_usd": 2.0, "cached_input_usd": 0.5, "output_usd": 8.0}
    script = lambda _: completion("hello", input_tokens=1000, cached_tokens=400, output_tokens=50)  # noqa: E731
    with (
        serve_openai(script) as server,
        LlmClient(config_of(server.url, **config), no_secret, 60) as client,
    ):
        reply = client.complete(HELLO, schema={"type": "object"}, seed=7)
    assert reply == Reply("hello", "stop", False, 1000, 50, 400, (600 * 2 + 400 * 0.5 + 50 * 8) / 1e6, model="m")
    body = server.calls[0].body
    assert body["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": {"type": "object"}}
    assert (body["seed"], body["temperature"], body["max_tokens"]) == (7, 0, 8192)


def test_a_server_of_ones_own_never_gets_the_key_for_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with serve_openai(lambda _: completion("hello")) as server:
        ask(server.url)
    assert "authorization" not in server.calls[0].headers


def test_the_key_comes_from_the_variable_that_is_named() -> None:
    with serve_openai(lambda _: completion("hello")) as server:
        config = config_of(server.url, api_key_env="MY_JUDGE_KEY")
        with LlmClient(config, lambda name: f"value of {name}", 60) as client:
            client.complete(HELLO)
    assert server.calls[0].headers["authorization"] == "Bearer value of MY_JUDGE_KEY"


def test_openai_without_a_key_is_refused_before_any_call() -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        LlmClient(config_of(None), no_secret, 60)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://a/v1", "http://user:pw@a/v1", "http://a/v1?key=1", "http:///v1"]
)
def test_an_address_is_http_and_holds_no_secret(url: str) -> None:
    with pytest.raises(ValidationError, match="an address like"):
        config_of(url)


@pytest.mark.parametrize(
    "fault",
    [error(500), error(502), error(503), error(529), error(429), error(408), error(409), Answer(reset=True),
     Answer(502, b"<html>bad gateway</html>", {"content-type": "text/html"})],
)  # fmt: skip
def test_a_burst_of_failures_is_survived(fault: Answer) -> None:
    with serve_openai(at_first(2, fault)) as server:
        assert ask(server.url).text == "hello"
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"<html>hello</html>",
        b'{"error": "busy"}',
        b'{"choices": "none"}',
        b'{"choices":[{"me',
    ],
)
def test_a_200_that_is_no_chat_completion_is_tried_three_times_in_all(nonsense: bytes) -> None:
    answer = Answer(200, nonsense, {"content-type": "application/json"})
    with serve_openai(at_first(2, answer)) as server:
        assert ask(server.url).text == "hello"
    with (
        serve_openai(lambda _: answer) as server,
        pytest.raises(Temporary, match=r"not a chat completion but .*, after 3 att"),
    ):
        ask(server.url)
    assert len(server.calls) == 3


def test_no_choice_and_no_content_are_an_empty_text() -> None:
    with serve_openai(lambda _: Answer(200, b'{"choices": []}', {"content-type": "application/json"})) as server:
        assert ask(server.url).text == ""
    with serve_openai(lambda _: completion(None, refusal="I will not.")) as server:
        assert ask(server.url)[:3] == ("", "stop", True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(401), "key is missing or wrong"),
        (error(403), "may not use the model"),
        (error(404), "check `model`"),
        (error(400, "model_not_found"), "check `model`"),
        (error(400, "unsupported_value"), "refuses a setting"),
        (error(429, "insufficient_quota"), "no money or quota left"),
        (Answer(307, b"", {"location": "https://elsewhere.example/v1"}), "leads elsewhere"),
    ],
)
def test_a_wrong_configuration_is_said_at_the_first_call(answer: Answer, words: str) -> None:
    with serve_openai(lambda _: answer) as server, pytest.raises(UserError, match=words):
        ask(server.url)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, "context_length_exceeded"), "too_long"),
        (error(400, None, "This model's maximum context length is 8192 tokens."), "too_long"),
        (
            error(400, None, "request (9 tokens) exceeds the available context size (8 tokens), try increasing it"),
            "too_long",
        ),
        (error(413), "too_long"),
        (error(400, "content_filter"), "blocked"),
        (error(400, "invalid_value"), "failed"),
        (error(422), "failed"),
    ],
)
def test_a_request_that_the_server_does_not_want_is_not_tried_again(answer: Answer, kind: str) -> None:
    with serve_openai(lambda _: answer) as server, pytest.raises(LlmRejected) as rejected:
        ask(server.url)
    assert rejected.value.kind == kind
    sizes = [call.body["max_tokens"] for call in server.calls]
    assert sizes in ([8192], [8192, 1024]), "where no figure says what is too long, it may have been the answer's limit"


@pytest.mark.parametrize("status", [400, 401, 404, 500, 429])
def test_an_error_never_repeats_what_the_server_quotes(status: int) -> None:
    def quote(call: Call) -> Answer:
        return error(status, f"bad {CANARY}", f"cannot answer: {call.prompt}")

    with serve_openai(quote) as server, pytest.raises((UserError, Temporary, LlmRejected)) as raised:
        ask(server.url, patience=HASTY._replace(attempts=2))
    assert CANARY not in str(raised.value) and f"HTTP {status}" in str(raised.value)


def test_a_call_that_hangs_is_given_up_after_its_wall_time_three_times() -> None:
    began, said = time.monotonic(), r"within 0\.2 s .*, after 3 attempts"
    with serve_openai(lambda _: Answer(latency_s=3600)) as server, pytest.raises(Temporary, match=said):
        ask(server.url, timeout_s=0.2)
    assert len(server.calls) <= 3, "on a busy machine the time may be over before a call arrives"
    assert time.monotonic() - began < 60


def test_a_trickle_does_not_stretch_the_wall_time() -> None:
    slow = Answer(200, completion("x" * 100).body, {"content-type": "application/json"}, trickle_s=0.05)
    began = time.monotonic()
    with serve_openai(lambda _: slow) as server, pytest.raises(Temporary):
        ask(server.url, timeout_s=0.3, patience=HASTY._replace(paid_attempts=1))
    assert time.monotonic() - began < len(slow.body) * slow.trickle_s / 2


@pytest.mark.slow
def test_half_of_all_calls_may_fail_and_every_one_is_answered() -> None:
    kinds = [error(429), error(500), error(529), Answer(reset=True)]
    script = lambda call: kinds[call.number // 2 % 4] if call.number % 2 else completion("hello")  # noqa: E731
    with (
        serve_openai(script) as server,
        LlmClient(config_of(server.url), no_secret, 60, concurrency=8, patience=HASTY._replace(attempts=30)) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = list(pool.map(lambda _: client.complete(HELLO), range(60)))
    assert [reply.text for reply in replies] == ["hello"] * 60


def test_a_dead_server_opens_the_breaker_for_all_threads_soon() -> None:
    def call(client: LlmClient) -> type[BaseException]:
        with pytest.raises(Temporary) as raised:
            client.complete(HELLO)
        return raised.type

    with serve_openai(lambda _: error(500)) as server:
        patience = HASTY._replace(attempts=1000, streak_s=0.3)
        config = config_of(server.url)
        with LlmClient(config, no_secret, 60, patience=patience) as client, ThreadPoolExecutor(8) as pool:
            began = time.monotonic()
            assert set(pool.map(call, [client] * 8)) == {ServerDown}
    assert time.monotonic() - began < 25, "a thousand attempts of each thread take 50 seconds and more"


def test_nobody_at_the_address_is_temporary() -> None:
    with serve_openai(lambda _: completion("hello")) as server:
        pass
    with pytest.raises(Temporary, match="no connection"):
        ask(server.url, patience=HASTY._replace(attempts=3))


def test_retry_after_is_honoured_by_every_call() -> None:
    both = threading.Barrier(2)

    def busy_at_first(call: Call) -> Answer:
        if call.number > 1:
            return completion("hello")
        both.wait(60)  # neither is answered before the other one is under way
        return error(429, retry_after="0.4")

    with (
        serve_openai(busy_at_first) as server,
        LlmClient(config_of(server.url), no_secret, 60, concurrency=2, patience=HASTY) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda _: client.complete(HELLO), range(8)))
    told = server.calls[1].at
    assert len(server.calls) == 10 and all(call.at >= told + 0.4 for call in server.calls[2:])


@pytest.mark.parametrize(
    "said", ["Please try again in 400ms.", "Please retry after 0.4 seconds.", "Try again in 0m0.4s"]
)
def test_a_wait_that_is_only_said_is_honoured(said: str) -> None:
    with (
        serve_openai(at_first(1, error(429, message=said))) as server,
        LlmClient(config_of(server.url), no_secret, 60, concurrency=1, patience=HASTY) as client,
    ):
        client.complete(HELLO)
    assert server.calls[1].at >= server.calls[0].at + 0.4


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    with serve_openai(at_first(1, error(503, retry_after=formatdate(time.time() - 5, usegmt=True)))) as server:
        assert ask(server.url).text == "hello"
    with serve_openai(at_first(1, error(503, retry_after="soon"))) as server:
        assert ask(server.url).text == "hello"


def test_a_server_that_orders_an_hour_is_not_waited_for() -> None:
    with serve_openai(lambda _: error(429, retry_after="3600")) as server, pytest.raises(ServerDown, match="3600 s"):
        ask(server.url)


@pytest.mark.slow
def test_a_server_that_takes_three_at_once_is_found_out() -> None:
    def crowded(call: Call) -> Answer:
        return error(429) if server.in_flight > 3 else completion("hello", latency_s=0.3)

    with serve_openai(crowded) as server:
        config, patience = config_of(server.url), Patience(attempts=50, first_wait_s=0.1)
        with (
            LlmClient(config, no_secret, 60, concurrency=32, patience=patience) as client,
            ThreadPoolExecutor(32) as pool,
        ):
            began = time.monotonic()
            list(pool.map(lambda _: client.complete(HELLO), range(40)))
            seconds = time.monotonic() - began
    assert len(server.calls) - 40 < 20, "thirty-two calls at once would be pushed back most of the time"
    assert seconds < 3 * 40 * 0.3 / 3


@pytest.mark.slow
def test_what_a_server_announces_is_kept_without_a_push_back() -> None:
    began, sent = time.monotonic(), 0

    def announcing(call: Call) -> Answer:
        nonlocal sent
        sent += 1
        level = 10 + (call.at - began) * 20 - sent
        if level < 0:
            return error(429)
        left = {"x-ratelimit-limit-requests": "1200", "x-ratelimit-remaining-requests": str(int(level))}
        return replace(completion("hello"), headers={"content-type": "application/json", **left})

    with (
        serve_openai(announcing) as server,
        LlmClient(config_of(server.url), no_secret, 60, concurrency=4) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda _: client.complete(HELLO), range(60)))
    assert len(server.calls) <= 61


@pytest.mark.slow
def test_a_token_bucket_is_used_up_over_real_connections_and_many_calls_are_in_flight() -> None:
    calls, rate, burst, call_s, crowd = 150, 20, 20, 1.0, 80
    with (
        serve_bucket(rate=rate, burst=burst, call_s=call_s, crowd=crowd) as api,
        LlmClient(config_of(api.url), no_secret, 60, concurrency=1000) as client,
        ThreadPoolExecutor(calls) as pool,
    ):
        began = time.monotonic()
        assert {reply.text for reply in pool.map(lambda _: client.complete(HELLO), range(calls))} == {"hello"}
        seconds, counts = time.monotonic() - began, api.counts()
    assert seconds < 4 * ((calls - burst) / rate + call_s), "to be exact is the benchmark's task, on an idle machine"
    assert counts.rejected < 50
    assert counts.most_in_flight >= crowd


def test_open_files_are_allowed_for_a_thousand_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_open_files(1000)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_push_backs_of_calls_that_ran_together_are_one_signal() -> None:
    all_eight = threading.Barrier(8)

    def busy_at_first(call: Call) -> Answer:
        if call.number >= 8:
            return completion("hello")
        all_eight.wait(60)
        return error(429)

    patience, began = Patience(first_wait_s=0.05), time.monotonic()
    with (
        serve_openai(busy_at_first) as server,
        LlmClient(config_of(server.url), no_secret, 60, concurrency=16, patience=patience) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda _: client.complete(HELLO), range(8)))
    assert len(server.calls) == 16
    assert time.monotonic() - began < 6, "as eight signals they double the wait eight times"


def test_a_server_that_only_pushes_back_is_given_up_for_all_calls_together() -> None:
    with serve_openai(lambda _: error(429)) as server:
        patience = HASTY._replace(attempts=1000, full_s=0.3)
        with (
            LlmClient(config_of(server.url), no_secret, 60, patience=patience) as client,
            pytest.raises(ServerDown, match=r"not answering \(HTTP 429"),
        ):
            client.complete(HELLO)


def test_closing_lets_calls_in_flight_end_and_starts_no_other() -> None:
    with serve_openai(lambda _: completion("hello", latency_s=0.5)) as server:
        client = LlmClient(config_of(server.url), no_secret, 60, concurrency=1)
        with ThreadPoolExecutor(3) as pool:
            replies = [pool.submit(client.complete, HELLO) for _ in range(3)]
            while not server.calls:
                time.sleep(0.01)
            client.close()
            outcomes = [reply.exception() for reply in replies]
    assert [type(outcome) for outcome in outcomes].count(Stopped) == 2
    assert outcomes.count(None) == 1
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("price", "least", "most"), [({}, 0.0, 1.4), ({"input_usd": 1.0, "output_usd": 1.0}, 1.5, 60.0)]
)
def test_closing_leaves_a_call_that_hangs_sooner_where_its_answer_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, price: dict[str, float], least: float, most: float
) -> None:
    monkeypatch.setattr("tuneline.llm.calls.DRAIN_SECONDS", 1.5)
    monkeypatch.setattr("tuneline.llm.calls.FREE_DRAIN_SECONDS", 0.1)
    with serve_openai(lambda _: Answer(latency_s=3600)) as server:
        client = LlmClient(config_of(server.url, **price), no_secret, 3600)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.complete, HELLO)
            while not server.calls:
                time.sleep(0.01)
            began = time.monotonic()
            client.close()
            assert isinstance(reply.exception(), Stopped)
    assert least <= time.monotonic() - began < most
    assert "llm" not in [thread.name for thread in threading.enumerate()]


def test_closing_ends_a_wait_between_attempts_at_once() -> None:
    patience = Patience(first_wait_s=3600, longest_wait_s=3600)
    with serve_openai(lambda _: error(500)) as server:
        client = LlmClient(config_of(server.url, input_usd=1.0, output_usd=1.0), no_secret, 60, patience=patience)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(client.complete, HELLO)
            while not server.calls or client.pace.in_flight:
                time.sleep(0.01)
            began = time.monotonic()
            client.close()
            assert isinstance(reply.exception(), Stopped)
    assert time.monotonic() - began < 2 and len(server.calls) == 1


def test_waits_double_up_to_the_longest() -> None:
    patience = Patience(attempts=6, first_wait_s=0.05, longest_wait_s=0.2, streak_s=60)
    with serve_openai(lambda _: error(500)) as server, pytest.raises(Temporary, match="after 6 attempts"):
        ask(server.url, patience=patience)
    gaps = [b.at - a.at for a, b in pairwise(server.calls)]
    assert all(gap >= least for gap, least in zip(gaps, [0.025, 0.05, 0.1, 0.1, 0.1], strict=True))
