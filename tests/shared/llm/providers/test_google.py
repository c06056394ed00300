from __future__ import annotations

from typing import Any

import pytest

from kit.scripted_openai import Answer, serve_openai
from kit.scripted_vendors import PROTOCOLS, generated, google_error
from tuneline.errors import Fault, LlmRejected, Temporary, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import GoogleConfig
from tuneline.llm.providers.google import fault_of, read_reply
from tuneline.llm.providers.provider import Reply

[PROTOCOL] = [protocol for protocol in PROTOCOLS if protocol.provider == "google"]
CONFIG = GoogleConfig(provider="google", model="gemini", input_usd=10, cached_input_usd=1, output_usd=50)
INFO = "type.googleapis.com/google.rpc."


def ask(answer: Answer, *, seed: int = 7, **settings: Any) -> tuple[Reply, dict[str, Any]]:
    with serve_openai(lambda _: answer) as server:
        config = PROTOCOL.config(server.url, **settings)
        with LlmClient(config, lambda name: name, 60, patience=Patience(attempts=1)) as client:
            reply = client.complete([{"role": "user", "content": "hi"}], seed=seed)
    return reply, server.calls[0].body["generationConfig"]


@pytest.mark.parametrize(
    ("finish", "expected", "cause"),
    [
        ("STOP", "stop", ""),
        ("MAX_TOKENS", "length", "finishReason MAX_TOKENS"),
        *[
            (reason, "content_filter", f"finishReason {reason}")
            for reason in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE")
        ],
        *[(reason, "other", f"finishReason {reason}") for reason in ("OTHER", "MALFORMED_RESPONSE", "CONTINUATION")],
        ("KINGFISHER", "other", ""),
        (None, "other", ""),
    ],
)
def test_why_an_answer_ended_is_kept_by_code(finish: str | None, expected: str, cause: str) -> None:
    reply = read_reply(generated("a", finish).body, CONFIG)
    assert (reply.text, reply.finish_reason, reply.refused, reply.cause) == ("a", expected, False, cause)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "KINGFISHER"])
def test_a_prompt_that_is_blocked_has_no_candidate_and_a_reason(reason: str) -> None:
    blocked = generated(None, candidates=None, promptFeedback={"blockReason": reason, "safetyRatings": []})
    reply = read_reply(blocked.body, CONFIG)
    code = "blockReason" if reason == "KINGFISHER" else f"blockReason {reason}"
    assert (reply.text, reply.finish_reason, reply.cause, reply.input_tokens) == ("", "content_filter", code, 100)


def test_an_account_that_google_has_limited_says_nothing_about_the_transcript() -> None:
    with pytest.raises(UserError, match="PUP_LIMITED_DISABLED"):
        ask(generated("", "PUP_LIMITED_DISABLED"))


@pytest.mark.parametrize("candidates", [None, []])
def test_neither_candidate_nor_reason_is_no_answer(candidates: object) -> None:
    with pytest.raises(Temporary, match="no candidate"):
        ask(generated(None, candidates=candidates))


def test_thoughts_are_no_part_of_the_text_and_are_paid_for() -> None:
    reply = read_reply(generated("a", thought="hm").body, CONFIG)
    assert (reply.text, reply.output_tokens) == ("a", 20)
    empty = [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]
    assert read_reply(generated(None, candidates=empty).body, CONFIG)[:2] == ("", "length")


def test_cached_tokens_are_part_of_the_prompt_and_have_a_price_of_their_own() -> None:
    used = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 600,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 6,
    }
    reply = read_reply(generated("a", usageMetadata=used).body, CONFIG)
    assert (reply.input_tokens, reply.cached_tokens, reply.output_tokens) == (1000, 600, 10)
    assert reply.cost_usd == pytest.approx((400 * 10 + 600 * 1 + 10 * 50) / 1e6)


@pytest.mark.parametrize("usage", [None, 7, [], {"promptTokenCount": None}, {"promptTokenCount": 10**400}])
def test_figures_that_cannot_be_cost_no_answer(usage: object) -> None:
    reply = read_reply(generated("a", usageMetadata=usage).body, CONFIG)
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("a", 0, 0)


def test_a_model_without_instructions_of_a_system_hears_them_from_the_user() -> None:
    refused = google_error(400, "INVALID_ARGUMENT", "Developer instruction is not enabled for models/gemma-3-27b-it")
    with serve_openai(lambda call: refused if "systemInstruction" in call.body else generated("hello")) as server:
        config = GoogleConfig(provider="google", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60) as client:
            for _ in range(2):
                said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
                assert client.complete(said).text == "hello"
    assert len(server.calls) == 3
    assert server.calls[-1].body["contents"] == [{"role": "user", "parts": [{"text": "Be kind.\n\nHello"}]}]


def test_settings_reach_the_server_as_its_protocol_has_them() -> None:
    _, sent = ask(generated("a"), thinking=0, temperature=None)
    # The SDK does not translate what stands in a thinkingConfig; Google's servers take both spellings.
    assert sent == {"maxOutputTokens": 8192, "seed": 7, "thinkingConfig": {"thinking_budget": 0}}
    _, sent = ask(generated("a"), thinking="low", seed=2**31 + 1)
    assert sent["thinkingConfig"] == {"thinking_level": "LOW"} and sent["seed"] == 1 and sent["temperature"] == 0


def problem(answer: Answer) -> Exception:
    return fault_of(CONFIG, answer.status, answer.headers, answer.body)


def info(reason: str) -> dict[str, str]:
    return {"@type": f"{INFO}ErrorInfo", "reason": reason, "domain": "googleapis.com"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            google_error(
                400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", info("API_KEY_INVALID")
            ),
            "400 INVALID_ARGUMENT API_KEY_INVALID: the key is missing or wrong",
        ),
        (google_error(400, "INVALID_ARGUMENT", "API key not valid."), "the key is missing or wrong"),
        (google_error(401, "UNAUTHENTICATED"), "the key is missing or wrong"),
        (google_error(403, "PERMISSION_DENIED"), "this key may not use the model"),
        (google_error(403, "PERMISSION_DENIED", "Your API key was reported as leaked."), "the key is missing or wrong"),
        (google_error(403, "PERMISSION_DENIED", "x", info("BILLING_DISABLED")), "no money"),
        (google_error(404, "NOT_FOUND", "models/m is not found for API version v1beta"), "check `model`"),
        (google_error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), "this place"),
        (google_error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), "no money"),
        (google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: m"), "no money or quota"),
        (google_error(400, "INVALID_ARGUMENT", "max_output_tokens must be in the range"), "`max_output_tokens`"),
        (google_error(400, "INVALID_ARGUMENT", "Thinking level is not supported for this model."), "`Thinking level`"),
        (google_error(400, "INVALID_ARGUMENT", "Budget 0 is invalid."), "`Budget`"),
    ],
)
def test_a_refusal_of_our_own_request_stops_the_run(answer: Answer, words: str) -> None:
    found = problem(answer)
    assert isinstance(found, UserError) and words in str(found)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (
            google_error(
                400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed"
            ),
            "too_long",
        ),
        (google_error(413, None), "too_long"),
        (google_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), "failed"),
    ],
)
def test_a_request_that_the_server_does_not_want_is_a_status(answer: Answer, kind: str) -> None:
    found = problem(answer)
    assert isinstance(found, LlmRejected) and found.kind == kind


def exhausted(status: int, quota: str) -> Answer:
    said = "You exceeded your current quota, please check your plan and billing details."
    violation = {"@type": f"{INFO}QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "10"}]}
    wait = {"@type": f"{INFO}RetryInfo", "retryDelay": "39.5s"}
    return google_error(status, "RESOURCE_EXHAUSTED", said, violation, wait)


@pytest.mark.parametrize(
    ("answer", "pushback", "wait_s"),
    [
        (exhausted(429, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), True, 39.5),
        (exhausted(413, "GenerateContentInputTokensPerModelPerMinute"), True, 39.5),
        (exhausted(429, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"), True, 86400),
        (google_error(429, "RESOURCE_EXHAUSTED"), True, None),
        (google_error(429, "RESOURCE_EXHAUSTED", retry_after="3"), True, 3),
        (google_error(503, "UNAVAILABLE"), True, None),
        (google_error(500, "INTERNAL"), False, None),
        (google_error(504, "DEADLINE_EXCEEDED"), False, None),
    ],
)
def test_what_time_can_mend_is_tried_again(answer: Answer, pushback: bool, wait_s: float | None) -> None:
    found = problem(answer)
    assert isinstance(found, Fault) and (found.pushback, found.wait_s) == (pushback, wait_s)
