"""What all providers have in common, as one table: faults, garbage, where keys and transcripts go."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from kit.judge_parts import CANARY
from kit.scripted_openai import Answer, Call, completion, serve_openai
from kit.scripted_vendors import JSON, PROTOCOLS, Protocol, anthropic_error, generated, google_error, message
from tuneline.errors import LlmRejected, ServerDown, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import MODELS
from tuneline.llm.providers.provider import Reply

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "shared": "What was said", "content": f"about {CANARY}"},
]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


@pytest.fixture(params=PROTOCOLS, ids=lambda p: p.provider)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


def ask(protocol: Protocol, url: str, *, timeout_s: float = 60, patience: Patience = HASTY, **settings: Any) -> Reply:
    config = protocol.config(url, **settings)
    with LlmClient(config, lambda name: f"value of {name}", timeout_s, patience=patience) as client:
        return client.complete(SAID, schema=SCHEMA)


def test_a_request_says_all_in_the_protocols_own_fields(protocol: Protocol) -> None:
    with serve_openai(lambda _: protocol.reply("hello")) as server:
        reply = ask(protocol, server.url, input_usd=1.0, output_usd=2.0)
    [call] = server.calls
    assert f"What was said\n\nabout {CANARY}" in protocol.prompt(call) and protocol.schema(call) == SCHEMA
    assert "Be kind." in json.dumps(call.body)
    assert (reply.text, reply.finish_reason, reply.refused, reply.cause) == ("hello", "stop", False, "")
    assert (reply.input_tokens, reply.output_tokens, reply.cost_usd) == (100, 20, 140e-6)


def burst(protocol: Protocol) -> list[Answer]:
    page = Answer(502, b"<html>bad gateway</html>", {"content-type": "text/html"})
    statuses = [protocol.fails(status) for status in (408, 409, 429, 500, 502, 503, 504, 529)]
    return [
        *statuses,
        Answer(reset=True),
        page,
        protocol.fails(429, retry_after="0.01"),
        Answer(500, b"\xff"),
        Answer(503, b"[]"),
    ]


@pytest.mark.parametrize("number", range(13))
def test_a_burst_of_failures_is_survived(protocol: Protocol, number: int) -> None:
    fault = burst(protocol)[number]
    with serve_openai(lambda call: fault if call.number < 2 else protocol.reply("hello")) as server:
        assert ask(protocol, server.url).text == "hello"
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        b"", b"{}", b"null", b"[]", b"<html>hello</html>", b'{"error": "busy"}', b'{"choices": 1, "content": "a"}',
        b'{"choices":[{"me', b"\xff\xfe", b"[" * 100_000, b" " * 5_000_000, b'{"candidates": 7, "content": [7]}',
        b'{"content": [{"text": 1}], "choices": [{"message": {"content": 1}}], '
        b'"candidates": [{"content": {"parts": 1}}]}',
    ],
)  # fmt: skip
def test_a_200_that_is_no_answer_is_tried_three_times_in_all(protocol: Protocol, nonsense: bytes) -> None:
    with serve_openai(lambda _: Answer(200, nonsense, JSON)) as server, pytest.raises(Temporary, match="after 3 attem"):
        ask(protocol, server.url)
    assert len(server.calls) == 3


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"{}", b'{"choices": 1, "content": 1, "candidates": 1}'])
def test_a_server_of_another_kind_is_the_settings_fault_and_not_waited_for(protocol: Protocol, body: bytes) -> None:
    with (
        serve_openai(lambda _: Answer(200, body, JSON)) as server,
        LlmClient(protocol.config(server.url), lambda name: name, 60.0, patience=HASTY) as client,
    ):
        for number in range(2):
            with pytest.raises(Temporary):
                client.complete([{"role": "user", "content": f"number {number}"}])
        with pytest.raises(UserError, match=r"answers what is no.*: it is no server of"):
            client.complete([{"role": "user", "content": "number 2"}])
        server.script = lambda _: protocol.reply("hello")
        assert client.complete([{"role": "user", "content": "number 2"}]).text == "hello"
        server.script = lambda _: Answer(200, body, JSON)
        with pytest.raises(Temporary):
            client.complete([{"role": "user", "content": "number 3"}])


ERRORS: dict[str, dict[str, Answer]] = {
    "openai": {
        "busy": Answer(200, b'{"error": {"type": "overloaded_error", "message": "no"}}', JSON),
        "broken": Answer(200, b'{"choices": [{"error": {"code": 502}, "message": {"content": "{"}}]}', JSON),
        "key": Answer(200, b'{"error": {"type": "authentication_error", "message": "no"}}', JSON),
    },
    "anthropic": {
        "busy": anthropic_error(200, "overloaded_error"),
        "broken": anthropic_error(200, "api_error"),
        "key": anthropic_error(200, "authentication_error"),
    },
    "google": {
        "busy": Answer(200, b'{"error": {"code": 503, "status": "UNAVAILABLE"}}', JSON),
        "broken": Answer(200, b'[{"error": {"code": 500, "status": "INTERNAL"}}]', JSON),
        "key": Answer(200, b'{"error": {"code": 401, "status": "UNAUTHENTICATED"}}', JSON),
    },
}


def test_an_error_in_an_answer_that_says_200_is_that_error(protocol: Protocol) -> None:
    errors = ERRORS[protocol.provider]
    with serve_openai(lambda c: [errors["busy"], errors["broken"], protocol.reply("hello")][c.number]) as server:
        assert ask(protocol, server.url).text == "hello"
    with serve_openai(lambda _: errors["key"]) as server, pytest.raises(UserError, match="key is missing"):
        ask(protocol, server.url)
    assert len(server.calls) == 1


def test_what_a_server_does_not_count_is_not_known_to_cost_nothing(protocol: Protocol) -> None:
    body = json.loads(protocol.reply("hello").body)
    bare = json.dumps({name: value for name, value in body.items() if not name.startswith("usage")}).encode()
    with serve_openai(lambda _: Answer(200, bare, JSON)) as server:
        reply = ask(protocol, server.url, input_usd=1.0, output_usd=2.0)
        assert (reply.text, reply.cost_usd, reply.usage.unpriced) == ("hello", None, 1)
        assert ask(protocol, server.url).cost_usd == 0.0, "a server on this machine costs nothing"


def test_a_server_that_refuses_whatever_it_is_asked_is_our_fault(protocol: Protocol) -> None:
    odd = {
        "openai": 400,
        "anthropic": (400, "invalid_request_error", "odd"),
        "google": (400, "INVALID_ARGUMENT", "odd"),
    }
    told = odd[protocol.provider]
    refused = protocol.fails(*told) if isinstance(told, tuple) else protocol.fails(told)
    with (
        serve_openai(lambda _: refused) as server,
        LlmClient(protocol.config(server.url), lambda name: name, 60, patience=HASTY) as client,
    ):
        for number in range(4):
            with pytest.raises(LlmRejected):
                client.complete([{"role": "user", "content": str(number)}])
        with pytest.raises(UserError, match="took none of 5 different requests"):
            client.complete([{"role": "user", "content": "4"}])


def test_an_answer_that_was_broken_off_without_a_reason_is_asked_for_again() -> None:
    [openai] = [p for p in PROTOCOLS if p.provider == "openai"]
    answers = [completion("half", finish="error"), completion("whole")]
    with serve_openai(lambda call: answers[call.number]) as server:
        assert ask(openai, server.url).text == "whole"


FORMS: dict[str, list[Answer]] = {
    "openai": [
        Answer(200, json.dumps({"choices": [{"message": {"content": content}}], "usage": None}).encode(), JSON)
        for content in ("hello", ["hel", "lo"], {"type": "text", "text": "hello"}, [None, {"text": "hello"}])
    ],
    "anthropic": [
        message(None, None, content="hello", usage=None),
        message(None, content=[None, {"type": "text", "text": 5}, {"type": "text", "text": "hello"}]),
    ],
    "google": [
        generated(None, candidates=[None, {"content": {"parts": [None, {"text": "hello"}]}, "finishReason": 5}]),
        generated(None, candidates=[{"content": {"parts": [{"text": "hello", "thought": {}}]}}], usageMetadata=None),
    ],
}


def test_what_has_another_form_beside_the_text_costs_no_answer(protocol: Protocol) -> None:
    forms = FORMS[protocol.provider]
    with serve_openai(lambda call: forms[call.number]) as server:
        assert [ask(protocol, server.url).text for _ in forms] == ["hello"] * len(forms)


def test_an_answer_that_is_json_and_no_text_is_that_json() -> None:
    [openai] = [p for p in PROTOCOLS if p.provider == "openai"]
    body = {"choices": [{"message": {"content": {"POLITE": {"answer": "YES"}}}}]}
    with serve_openai(lambda _: Answer(200, json.dumps(body).encode(), JSON)) as server:
        assert json.loads(ask(openai, server.url).text) == {"POLITE": {"answer": "YES"}}


@pytest.mark.parametrize(("status", "words"), [(401, "key is missing"), (403, "may not use"), (404, "`model`")])
def test_a_wrong_configuration_is_said_at_the_first_call(protocol: Protocol, status: int, words: str) -> None:
    with serve_openai(lambda _: protocol.fails(status)) as server, pytest.raises(UserError, match=words):
        ask(protocol, server.url)
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_takes_neither_key_nor_transcript_along(protocol: Protocol, status: int) -> None:
    with serve_openai(lambda _: protocol.reply("hello")) as other:
        away = Answer(status, b"" if status == 304 else b"{}", {"location": f"{other.url}/x"})
        with serve_openai(lambda _: away) as server, pytest.raises(UserError, match=f"HTTP {status}.*: the address"):
            ask(protocol, server.url, api_key_env="JUDGE_API_KEY")
    assert (len(server.calls), len(other.calls)) == (1, 0)


SDK_VARIABLES = {
    "OPENAI_API_KEY": "secret", "OPENAI_ORG_ID": "secret", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "OPENAI_CUSTOM_HEADERS": "X-Team: secret", "ANTHROPIC_API_KEY": "secret", "ANTHROPIC_AUTH_TOKEN": "secret",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "ANTHROPIC_CUSTOM_HEADERS": "X-Team: secret\nx-api-key: secret",
    "ANTHROPIC_PROFILE": "nobody", "ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content",
    "GEMINI_API_KEY": "secret", "GOOGLE_API_KEY": "secret", "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_GENAI_USE_ENTERPRISE": "true",
    "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1", "GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:1",
    "GOOGLE_GENAI_API_VERSION": "v9", "GOOGLE_GENAI_CLIENT_MODE": "replay",
    "GOOGLE_GENAI_REPLAYS_DIRECTORY": "/nowhere", "GOOGLE_CLOUD_PROJECT": "secret", "GOOGLE_CLOUD_LOCATION": "secret",
    "GOOGLE_GENAI_HTTP_CLIENT": "httpx",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": "false", "GOOGLE_API_USE_MTLS_ENDPOINT": "always",
    "HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1",
}  # fmt: skip


def test_no_variable_of_an_sdk_and_nothing_of_this_machine_follows_to_a_base_url(
    protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SDK_VARIABLES.items():
        monkeypatch.setenv(name, value)
    with serve_openai(lambda _: protocol.reply("hello")) as server:
        ask(protocol, server.url)
        ask(protocol, server.url, api_key_env="JUDGE_API_KEY")
    bare, keyed = (call.headers for call in server.calls)
    assert protocol.key_header not in bare
    assert keyed[protocol.key_header] == protocol.key.format("value of JUDGE_API_KEY")
    assert "secret" not in json.dumps([bare, keyed, server.calls[0].path])
    usual = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
    assert set(keyed) - usual <= {protocol.key_header, "anthropic-version"}


def test_the_sdks_own_log_does_not_get_the_request(protocol: Protocol) -> None:
    program = f"""
import logging, sys
sys.path.insert(0, "tests")
logging.basicConfig(level=logging.DEBUG)
from tests.shared.llm.providers.test_providers import *
[protocol] = [p for p in PROTOCOLS if p.provider == {protocol.provider!r}]
with serve_openai(lambda _: protocol.reply("hello")) as server:
    ask(protocol, server.url)
"""
    levels = {"OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug", "PYTHONPATH": "tests"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **levels}
    )
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_of_any_size_costs_bounded_memory_however_it_is_packed(protocol: Protocol, status: int) -> None:
    answer = Answer(status, gzip.compress(b" " * 300_000_000), {**JSON, "content-encoding": "gzip"})
    with serve_openai(lambda _: answer) as server:
        tracemalloc.start()
        try:
            with pytest.raises(Temporary, match="more than 8 MiB, after 3 attempts"):
                ask(protocol, server.url)
            assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
        finally:
            tracemalloc.stop()
    assert len(server.calls) == 3


def test_an_answer_that_cannot_be_unpacked_is_tried_three_times(protocol: Protocol) -> None:
    answer = Answer(200, b"no gzip", {**JSON, "content-encoding": "gzip"})
    with (
        serve_openai(lambda _: answer) as server,
        pytest.raises(Temporary, match="cannot be unpacked, after 3 attempts"),
    ):
        ask(protocol, server.url)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_server_puts_no_word_of_a_transcript_into_our_messages(protocol: Protocol, status: int) -> None:
    def quote(call: Call) -> Answer:
        said = f"no: {protocol.prompt(call)}"
        error = {"message": said, "type": said, "code": said, "status": said, "details": [{"reason": said}]}
        return Answer(status, json.dumps({"error": error}).encode(), JSON)

    with serve_openai(quote) as server, pytest.raises((UserError, Temporary, LlmRejected)) as raised:
        ask(protocol, server.url, patience=HASTY._replace(attempts=2))
    assert CANARY not in str(raised.value) and f"HTTP {status}" in str(raised.value)


def test_a_call_that_hangs_is_given_up_after_its_wall_time_three_times(protocol: Protocol) -> None:
    said = r"within 0\.2 s .*, after 3 attempts"
    with serve_openai(lambda _: Answer(latency_s=3600)) as server, pytest.raises(Temporary, match=said):
        ask(protocol, server.url, timeout_s=0.2)
    assert len(server.calls) <= 3, "on a busy machine the time may be over before a call arrives"


def test_a_name_that_nobody_knows_is_no_connection(protocol: Protocol) -> None:
    with pytest.raises(Temporary, match=r"no connection \(no host of this name is found\)"):
        ask(protocol, "http://judge.invalid/v1", patience=HASTY._replace(attempts=2))


def test_a_port_at_which_nobody_listens_is_said_to_be_one(protocol: Protocol) -> None:
    with serve_openai(lambda _: Answer()) as server:
        url = server.url
    with pytest.raises(Temporary, match=r"no connection \(nobody listens there\)"):
        ask(protocol, url, patience=HASTY._replace(attempts=2))


def test_a_server_without_tls_is_named_as_one(protocol: Protocol) -> None:
    with serve_openai(lambda _: Answer()) as server, pytest.raises(UserError, match=r"speaks no TLS: .* http://"):
        ask(protocol, server.url.replace("http://", "https://"))


def test_a_server_that_orders_an_hour_is_not_waited_for(protocol: Protocol) -> None:
    hour = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600s"}
    late = protocol.fails(429, "RESOURCE_EXHAUSTED", "wait", hour) if protocol.provider == "google" else None
    answer = late or protocol.fails(429, retry_after="3600")
    with serve_openai(lambda _: answer) as server, pytest.raises(ServerDown, match="3600 s"):
        ask(protocol, server.url)


def test_a_certificate_that_nobody_signed_is_said_at_once(protocol: Protocol) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serve_openai(lambda _: protocol.reply("hello"), context=context) as server:
        url = server.url.replace("http://", "https://")
        with pytest.raises(UserError, match="certificate is not trusted"):
            ask(protocol, url)
    assert not server.calls


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_a_vendors_own_key_is_required_and_goes_to_no_other_vendor(provider: str) -> None:
    def missing(name: str) -> str:
        raise UserError(f"{name} is not set")

    config = MODELS[provider].model_validate({"provider": provider, "model": "m"})
    with pytest.raises(UserError, match=f"{config.keys[0]} is not set"):
        LlmClient(config, missing, 5)
    for other in {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "CLAUDE_API_KEY", "GOOGLE_API_KEY"} - {*config.keys}:
        if provider != "anthropic" or other != "CLAUDE_API_KEY":
            with pytest.raises(ValidationError, match=f"{other} is sent to"):
                MODELS[provider].model_validate({"provider": provider, "model": "m", "api_key_env": other})


def test_empty_text_is_said_so_that_every_server_takes_it(protocol: Protocol) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}, {"role": "user", "content": "b"}]
    with (
        serve_openai(lambda _: protocol.reply("hello")) as server,
        LlmClient(protocol.config(server.url), lambda name: name, 60) as client,
    ):
        client.complete(said)
    assert "a\n…\nb" in protocol.prompt(server.calls[0])


def cached(protocol: Protocol, call: Call) -> Answer:
    """Answer as a server whose cache holds the beginning of the prompt from the second call on."""
    held = 80 if call.number else 0
    if protocol.provider == "openai":
        return completion("hello", input_tokens=100, cached_tokens=held)
    if protocol.provider == "google":
        used = {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            **({"cachedContentTokenCount": held} if held else {}),
        }
        return generated("hello", usageMetadata=used)
    used = {
        "input_tokens": 20,
        "cache_creation_input_tokens": 80 - held,
        "cache_read_input_tokens": held,
        "output_tokens": 20,
    }
    return message("hello", usage=used)


def test_cached_tokens_are_counted_and_have_their_own_price(protocol: Protocol) -> None:
    with serve_openai(lambda call: cached(protocol, call)) as server:
        config = protocol.config(server.url, input_usd=10, cached_input_usd=1, cache_write_usd=12, output_usd=0)
        with LlmClient(config, lambda name: name, 60) as client:
            first, second = (client.complete(SAID) for _ in range(2))
    assert (first.input_tokens, second.input_tokens, first.cached_tokens, second.cached_tokens) == (100, 100, 0, 80)
    written = 80 if protocol.provider == "anthropic" else 0
    assert first.cache_write_tokens == written and second.usage.cached_tokens == 80
    assert first.cost_usd == pytest.approx(((100 - written) * 10 + written * 12) / 1e6)
    assert second.cost_usd == pytest.approx((20 * 10 + 80 * 1) / 1e6)


@pytest.mark.parametrize(
    ("provider", "refusal"),
    [
        (
            "anthropic",
            anthropic_error(400, "invalid_request_error", "output_config.format: Extra inputs"),
        ),
        ("anthropic", anthropic_error(400, "invalid_request_error", "Schema is too complex.")),
        ("google", google_error(400, "INVALID_ARGUMENT", "JSON mode is not enabled for models/gemma-3-27b-it")),
        (
            "google",
            google_error(400, "INVALID_ARGUMENT", "The specified schema has too many states"),
        ),
    ],
)
def test_a_model_that_takes_no_schema_is_asked_without_one_from_then_on(provider: str, refusal: Answer) -> None:
    [protocol] = [p for p in PROTOCOLS if p.provider == provider]

    def strict(call: Call) -> Answer:
        asked = call.body.get("output_config") or call.body.get("generationConfig", {}).get("responseJsonSchema")
        return refusal if asked else protocol.reply("hello")

    with serve_openai(strict) as server, LlmClient(protocol.config(server.url), lambda name: name, 60) as client:
        assert [client.complete(SAID, schema=SCHEMA).text for _ in range(3)] == ["hello"] * 3
    assert len(server.calls) == 4, "the refusal is met once"
