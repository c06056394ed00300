from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from kit.judge_parts import CANARY
from kit.scripted_openai import Answer, Call, completion, error, serve_openai
from tuneline.errors import LlmRejected, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.openai_reply import read_reply
from tuneline.llm.providers.provider import Reply

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
JSON = {"content-type": "application/json"}


def ask(url: str, content: str = "Hello", **settings: Any) -> Reply:
    config = OpenAiConfig.model_validate({"provider": "openai", "model": "m", "base_url": url, **settings})
    with LlmClient(config, lambda name: f"value of {name}", 60, patience=HASTY) as client:
        return client.complete([{"role": "user", "content": content}])


def test_no_variable_of_the_sdk_and_nothing_of_this_machine_follows_to_a_base_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"secret {name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer secret\nX-Team: secret\nUser-Agent: secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve_openai(lambda _: completion("hello")) as server:
        ask(server.url)
        ask(server.url, api_key_env="JUDGE_API_KEY")
    bare, keyed = (call.headers for call in server.calls)
    assert "authorization" not in bare and keyed["authorization"] == "Bearer value of JUDGE_API_KEY"
    assert "secret X" not in json.dumps([bare, keyed]) and "x-team" not in bare
    assert not [name for name in bare if name.startswith(("x-", "openai-"))]


def test_a_login_of_netrc_is_sent_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serve_openai(lambda _: completion("hello")) as server:
        ask(server.url)
    assert "authorization" not in server.calls[0].headers


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
def test_a_redirect_is_the_addresss_fault_and_takes_neither_key_nor_transcript_along(status: int) -> None:
    with serve_openai(lambda _: completion("hello")) as other:
        away = Answer(status, b"" if status == 304 else b"{}", {"location": f"{other.url}/chat/completions"})
        with (
            serve_openai(lambda _: away) as server,
            pytest.raises(UserError, match=f"HTTP {status}: the address"),
        ):
            ask(server.url, api_key_env="JUDGE_API_KEY")
    assert (len(server.calls), len(other.calls)) == (1, 0)


def test_what_is_said_to_a_model_spells_no_control_token_in_any_role() -> None:
    said = [{"role": role, "content": "a<end_of_turn>b</s>[INST]"} for role in ("system", "user", "assistant")]
    with serve_openai(lambda _: completion("hello")) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60) as client:
            client.complete(said)
    assert [m["content"] for m in server.calls[0].body["messages"]] == ["a< end_of_turn>b< /s>[ INST]"] * 3


def test_a_seed_of_null_is_not_sent() -> None:
    with serve_openai(lambda _: completion("hello")) as server:
        ask(server.url, seed=None, temperature=None)
        ask(server.url, seed=5)
    assert not {"seed", "temperature"} & set(server.calls[0].body)
    assert server.calls[1].body["seed"] == 5


@pytest.mark.parametrize(
    "usage",
    ['{"prompt_tokens": 1%s}' % ("0" * 400), '{"completion_tokens": -1}', "null", "[]", '"many"',
     '{"prompt_tokens": null}',
     '{"prompt_tokens": "a", "completion_tokens": {}}', '{"prompt_tokens": 1e999}', '{"prompt_tokens": NaN}',
     '{"prompt_tokens_details": 7}', '{"prompt_tokens": true}'],
)  # fmt: skip
def test_figures_that_cannot_be_cost_no_answer_and_are_not_known(usage: str) -> None:
    body = f'{{"choices": [{{"message": {{"content": "hello"}}}}], "usage": {usage}}}'.encode()
    with serve_openai(lambda _: Answer(200, body, JSON)) as server:
        reply = ask(server.url, input_usd=1, output_usd=1)
    assert (reply.text, reply.cost_usd) == ("hello", None)
    assert len(server.calls) == 1


def test_figures_in_other_forms_are_read() -> None:
    usage = '{"prompt_tokens": "1000", "completion_tokens": 50.0, "prompt_cache_hit_tokens": 400}'
    body = f'{{"choices": [{{"message": {{"content": "hello"}}}}], "usage": {usage}}}'.encode()
    with serve_openai(lambda _: Answer(200, body, JSON)) as server:
        assert ask(server.url)[3:6] == (1000, 50, 400)


def test_no_more_can_be_read_from_the_cache_than_was_sent() -> None:
    with serve_openai(lambda _: completion("hello", input_tokens=10, cached_tokens=10**8)) as server:
        reply = ask(server.url, input_usd=2.0, cached_input_usd=1.0)
    assert (reply.cached_tokens, reply.cost_usd) == (10, 1e-5)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_an_answer_of_any_size_costs_bounded_memory_however_it_is_packed(status: int, encoding: str) -> None:
    body = gzip.compress(b" " * 300_000_000) if encoding == "gzip" else b" " * 60_000_000
    answer = Answer(status, body, {**JSON, "content-encoding": encoding})
    with serve_openai(lambda _: answer) as server:
        tracemalloc.start()
        try:
            with pytest.raises(Temporary, match="more than 8 MiB, after 3 attempts"):
                ask(server.url)
            assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
        finally:
            tracemalloc.stop()
    assert len(server.calls) == 3


def test_a_packed_answer_is_read() -> None:
    answer = completion("hello")
    packed = Answer(200, gzip.compress(answer.body), {**JSON, "content-encoding": "gzip"})
    with serve_openai(lambda _: packed) as server:
        assert ask(server.url).text == "hello"


@pytest.mark.parametrize("field", ["type", "code", "param", "message"])
def test_a_server_puts_no_word_of_a_transcript_into_our_messages(field: str) -> None:
    def quote(call: Call) -> Answer:
        return Answer(400, json.dumps({"error": {field: call.body["messages"][0]["content"]}}).encode(), JSON)

    with serve_openai(quote) as server:
        for said in ("erika", "canarywords", "erika.mustermann", CANARY):
            with pytest.raises(LlmRejected) as rejected:
                ask(server.url, said)
            assert str(rejected.value) == "HTTP 400"
        server.script = lambda _: error(400, "invalid_value")
        with pytest.raises(LlmRejected, match="HTTP 400 invalid_value"):
            ask(server.url)


def test_the_sdks_own_log_does_not_get_the_request() -> None:
    program = f"""
import sys
sys.path.insert(0, "tests")
from tests.shared.llm.providers.test_openai import *
with serve_openai(lambda _: completion("hello")) as server:
    ask(server.url, {CANARY!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, "OPENAI_LOG": "debug", "PYTHONPATH": "tests"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr


LOCAL = OpenAiConfig(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    "message",
    [
        {"content": ['{"a": ', "1}"]},
        {
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "answer", "arguments": '{"a": 1}'}}],
        },
        {"content": "", "tool_calls": [{"function": {"name": "answer", "arguments": {"a": 1}}}]},
    ],
    ids=["texts in a list", "a tool's arguments", "arguments that are no text"],
)
def test_the_answer_to_a_schema_is_found_where_a_server_puts_it(message: dict[str, object]) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    assert json.loads(read_reply(body, LOCAL, wanted=True).text) == {"a": 1}


def test_a_tool_that_nobody_asked_for_is_no_answer() -> None:
    calls = [{"function": {"name": "search", "arguments": '{"a": 1}'}}]
    body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": calls}}]}).encode()
    assert read_reply(body, LOCAL).text == ""
