from __future__ import annotations

from typing import Any

import pytest

from kit.scripted_openai import Answer, serve_openai
from kit.scripted_vendors import PROTOCOLS, anthropic_error, json_answer, message
from tuneline.errors import Fault, LlmRejected, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import AnthropicConfig
from tuneline.llm.providers.anthropic import fault_of, read_reply
from tuneline.llm.providers.provider import Reply

[PROTOCOL] = [protocol for protocol in PROTOCOLS if protocol.provider == "anthropic"]
CONFIG = AnthropicConfig(
    provider="anthropic", model="claude", input_usd=10, cached_input_usd=1, cache_write_usd=12, output_usd=50
)


def ask(answer: Answer, *, said: list[dict[str, str]] | None = None, **settings: Any) -> tuple[Reply, dict[str, Any]]:
    with serve_openai(lambda _: answer) as server:
        config = PROTOCOL.config(server.url, **settings)
        with LlmClient(config, lambda name: name, 60, patience=Patience(attempts=1)) as client:
            reply = client.complete(said or [{"role": "user", "content": "hi"}], seed=7)
    return reply, server.calls[0].body


@pytest.mark.parametrize(
    ("reason", "details", "finish", "refused", "cause"),
    [
        ("end_turn", None, "stop", False, ""),
        ("stop_sequence", None, "stop", False, ""),
        ("max_tokens", None, "length", False, "stop_reason max_tokens"),
        ("model_context_window_exceeded", None, "context", False, "stop_reason model_context_window_exceeded"),
        ("refusal", None, "refusal", True, "stop_reason refusal"),
        (
            "refusal",
            {"type": "refusal", "category": "bio", "explanation": "x"},
            "refusal",
            True,
            "stop_reason refusal bio",
        ),
        ("refusal", {"category": "kingfisher"}, "refusal", True, "stop_reason refusal"),
        ("refusal", 7, "refusal", True, "stop_reason refusal"),
        ("pause_turn", None, "other", False, "stop_reason pause_turn"),
        ("tool_use", None, "other", False, "stop_reason tool_use"),
        ("kingfisher", None, "other", False, ""),
        (None, None, "other", False, ""),
    ],
)
def test_why_an_answer_ended_is_kept_by_code(
    reason: str | None, details: object, finish: str, refused: bool, cause: str
) -> None:
    reply = read_reply(message("a", reason, stop_details=details).body, CONFIG)
    assert (reply.text, reply.finish_reason, reply.refused, reply.cause) == ("a", finish, refused, cause)


def test_thoughts_are_no_part_of_the_text_and_pieces_of_text_are_joined() -> None:
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    assert (
        read_reply(message("", content=[*content, {"type": "text", "text": "b", "citations": None}]).body, CONFIG).text
        == "ab"
    )
    assert read_reply(message(None).body, CONFIG).text == ""


def test_cached_tokens_are_part_of_the_prompt_and_have_prices_of_their_own() -> None:
    used = {"input_tokens": 10, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 3000, "output_tokens": 4}
    reply = read_reply(message("a", usage=used).body, CONFIG)
    assert (reply.input_tokens, reply.cached_tokens, reply.cache_write_tokens, reply.output_tokens) == (
        3210,
        3000,
        200,
        4,
    )
    assert reply.cost_usd == pytest.approx((10 * 10 + 200 * 12 + 3000 * 1 + 4 * 50) / 1e6)


@pytest.mark.parametrize(
    "usage", [None, 7, [], {"input_tokens": None}, {"input_tokens": -1}, {"input_tokens": 10**400}]
)
def test_figures_that_cannot_be_cost_no_answer(usage: object) -> None:
    reply = read_reply(message("a", usage=usage).body, CONFIG)
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("a", 0, 0)


def test_settings_reach_the_server_as_its_protocol_has_them_and_no_seed_does() -> None:
    reply, body = ask(message("a", thinking="hm"), thinking=2048, effort="low", temperature=0.5)
    assert reply.text == "a"
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert body["output_config"] == {"effort": "low"} and body["temperature"] == 0.5 and "seed" not in body
    _, body = ask(message("a"), thinking="adaptive")
    assert body["thinking"] == {"type": "adaptive"} and not {"temperature", "output_config", "system"} & set(body)


def test_what_is_sent_again_soon_is_marked_for_the_cache_and_nothing_else() -> None:
    said = [{"role": "system", "content": "s"}, {"role": "user", "shared": "a", "content": "b"}]
    _, body = ask(message("a"), said=said)
    marked = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    assert body["messages"] == [{"role": "user", "content": [marked, {"type": "text", "text": "b"}]}]
    _, body = ask(message("a"), said=[{"role": "user", "shared": "a", "content": ""}])
    assert body["messages"] == [{"role": "user", "content": [marked]}]
    _, body = ask(message("a"), said=[{"role": "user", "content": "a"}])
    assert "cache_control" not in str(body)


def problem(answer: Answer) -> Exception:
    return fault_of(CONFIG, answer.status, answer.headers, answer.body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            anthropic_error(401, "authentication_error", "invalid x-api-key"),
            "401 authentication_error: the key is missing",
        ),
        (anthropic_error(403, "permission_error"), "403 permission_error: this key may not"),
        (anthropic_error(404, "not_found_error", "model: claude"), "404 not_found_error: check `model`"),
        (anthropic_error(402, "billing_error"), "402 billing_error: the account has no money"),
        (anthropic_error(400, "invalid_request_error", "Your credit balance is too low to access"), "has no money"),
        (
            anthropic_error(400, "invalid_request_error", "You have reached your specified API usage limits."),
            "no money",
        ),
        (anthropic_error(429, "rate_limit_error", "x", "enforced_spend_limit_reached"), "no money"),
        (
            anthropic_error(400, "invalid_request_error", "max_tokens: 900000 > 64000, which is the maximum"),
            "`max_tokens`",
        ),
        (anthropic_error(400, "invalid_request_error", "`temperature` is deprecated for this model."), "`temperature`"),
        (
            anthropic_error(400, "invalid_request_error", "adaptive thinking is not supported on this model"),
            "`thinking`",
        ),
        (
            anthropic_error(400, "invalid_request_error", "output_config.format: Extra inputs are not permitted"),
            "no JSON schema",
        ),
        (
            anthropic_error(
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 9000 + 199000 > 200000",
            ),
            "`max_tokens` takes too much",
        ),
    ],
)
def test_a_refusal_of_our_own_request_stops_the_run(answer: Answer, words: str) -> None:
    found = problem(answer)
    assert isinstance(found, UserError) and words in str(found)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            anthropic_error(400, "invalid_request_error", "prompt is too long: 213462 tokens > 200000 maximum"),
            "too_long",
        ),
        (
            anthropic_error(
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000",
            ),
            "too_long",
        ),
        (anthropic_error(413, "request_too_large"), "too_long"),
        (anthropic_error(400, "invalid_request_error", "Output blocked by content filtering policy"), "blocked"),
        (anthropic_error(400, "invalid_request_error", "messages: something else"), "failed"),
        (anthropic_error(422, "kingfisher"), "failed"),
    ],
)
def test_a_request_that_the_server_does_not_want_is_a_status(answer: Answer, kind: str) -> None:
    found = problem(answer)
    assert isinstance(found, LlmRejected) and found.kind == kind
    assert "kingfisher" not in str(found)


@pytest.mark.parametrize(
    ("answer", "pushback", "paid", "wait_s"),
    [
        (anthropic_error(429, "rate_limit_error", retry_after="7"), True, False, 7),
        (anthropic_error(413, "rate_limit_error", retry_after="7"), True, False, 7),
        (anthropic_error(429, "rate_limit_error", "x", "ramp_limit_exceeded"), True, False, None),
        (anthropic_error(529, "overloaded_error"), True, False, None),
        (anthropic_error(500, "api_error"), False, False, None),
        (anthropic_error(504, "timeout_error"), False, True, None),
    ],
)
def test_what_time_can_mend_is_tried_again(answer: Answer, pushback: bool, paid: bool, wait_s: float | None) -> None:
    found = problem(answer)
    assert isinstance(found, Fault) and (found.pushback, found.paid, found.wait_s) == (pushback, paid, wait_s)


def test_a_message_without_content_is_no_answer() -> None:
    with pytest.raises(Temporary, match="not a message"):
        ask(json_answer({"type": "message", "content": None, "stop_reason": "end_turn"}))
