"""Refusals as servers write them: OpenAI, Azure, vLLM, Mistral, TGI, Groq, Together, DeepSeek, LiteLLM and others."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from kit.judge_parts import CANARY
from kit.scripted_openai import Answer, Call, completion, serve_openai
from tuneline.errors import Fault, LlmRejected, ServerDown, UserError
from tuneline.llm.calls import Patience
from tuneline.llm.client import LlmClient
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.openai import fault_of
from tuneline.llm.providers.refusals import fitting_tokens, read_refusal, unwanted

JSON = {"content-type": "application/json"}
HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)
FIELDS = ("max_tokens", "temperature", "seed", "response_format")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
CONFIG = OpenAiConfig(provider="openai", model="m", base_url="http://127.0.0.1:1/v1")


def openai_error(
    message: str, param: str | None = None, code: object = None, kind: str = "invalid_request_error"
) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def pydantic_error(kind: str, *loc: str, msg: str = "Extra inputs are not permitted") -> Any:
    return {"detail": [{"type": kind, "loc": list(loc), "msg": msg, "input": f"a temperature of {CANARY}"}]}


REFUSED: list[tuple[str, int, Any, str]] = [
    ("OpenAI", 400, openai_error("Unsupported parameter: 'temperature' does not go with this model.", "temperature",
     "unsupported_parameter"), "temperature"),
    ("OpenAI, a value", 400, openai_error("Unsupported value: 'temperature' does not support 0.0 with this model. Only "
     "the default (1) value is supported.", "temperature", "unsupported_value"), "temperature"),
    ("OpenAI, the limit", 400, openai_error("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
     "'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter"), "max_tokens"),
    ("OpenAI, the schema", 400, openai_error("Invalid parameter: 'response_format' of type 'json_schema' is not "
     "supported with this model.", None), "response_format"),
    ("Azure", 400, openai_error("response_format value as json_schema is enabled only for api versions "
     "2024-08-01-preview "
     "and later; it is not supported here", None, "BadRequest"), "response_format"),
    ("Azure, inside", 400, openai_error("Invalid schema for response_format 'answer'", "response_format"),
     "response_format"),
    ("vLLM", 400, {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra "
     "inputs are not permitted'}]", "type": "BadRequestError", "param": None, "code": 400}, "seed"),
    ("vLLM, a list", 422, pydantic_error("extra_forbidden", "body", "seed"), "seed"),
    ("vLLM, a literal", 422, pydantic_error("literal_error", "body", "response_format", "type",
     msg="Input should be 'text' or 'json_object'"), "response_format"),
    ("Mistral", 422, {"object": "error", "message": pydantic_error("extra_forbidden", "body", "seed"),
     "type": "invalid_request_error", "param": None, "code": None}, "seed"),
    ("Mistral, newer", 422, {"object": "Error", "message": pydantic_error("extra_forbidden", "body", "seed")["detail"],
     "code": 3001}, "seed"),
    ("TGI", 422, {"error": "Input validation error: grammar is not supported", "error_type": "validation"},
     "response_format"),
    ("llama-cpp-python", 500, openai_error("[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
     "'msg': "
     "\"Input should be 'text' or 'json_object'\"}]", None, None, "internal_server_error"), "response_format"),
    ("LM Studio", 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}, "response_format"),
    ("Ollama", 400, openai_error("invalid response_format: json schema is not supported"), "response_format"),
    ("llama-server", 400, openai_error("response_format type must be one of text and json_object, json_schema is "
     "invalid", None, 400), "response_format"),
    ("Groq", 400, openai_error("This model does not support response format `json_schema`. See the docs.",
     "response_format"), "response_format"),
    ("DeepSeek", 400, openai_error("This response_format type is unavailable now", None, "invalid_request_error"),
     "response_format"),
    ("xAI", 400, {"code": "Client specified an invalid argument", "error": "Argument not supported on this model: "
     "seed"},
     "seed"),
    ("Together", 400, openai_error("json_schema response format is not available for this model", None),
     "response_format"),
    ("Perplexity", 400, openai_error("Unknown parameter: 'seed'", None, 400, "bad_request"), "seed"),
    ("Fireworks", 400, openai_error("Extra inputs are not permitted, field: 'seed', value: 0"), "seed"),
    ("Cohere", 422, {"id": "1", "message": "invalid request: unknown field: seed"}, "seed"),
    ("LiteLLM", 400, openai_error("litellm.UnsupportedParamsError: x does not support parameters: ['temperature'], to "
     "drop these set drop_params", None, "400", "None"), "temperature"),
    ("OpenRouter", 404, openai_error("No endpoints found that support the requested parameters: response_format is not "
     "supported", None, 404), "response_format"),
    ("OpenRouter, inside", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {
     "raw": json.dumps(openai_error("temperature is deprecated for this model"))}}}, "temperature"),
    ("text", 400, "unknown field seed", "seed"),
    ("SGLang", 501, {"error": {"message": "guided decoding is not implemented"}}, "response_format"),
    ("SGLang, a grammar", 400, {"object": "error", "message": "Failed to compile json grammar", "type":
     "BadRequestError", "code": 400}, "response_format"),
    ("llama-server, a grammar", 400, openai_error("Failed to initialize samplers: error parsing grammar: number of "
     "repetitions exceeds sane defaults, please reduce the number of repetitions", None, 400), "response_format"),
    ("the word json", 400, openai_error("'messages' must contain the word 'json' in some form, to use "
     "'response_format' of type 'json_object'.", "messages"), "response_format"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "status", "body", "field"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_field_that_a_server_does_not_take_is_left_out_and_stays_so(
    server: str, status: int, body: Any, field: str
) -> None:
    refusal = Answer(status, (body if isinstance(body, str) else json.dumps(body)).encode(), JSON)

    def script(call: Call) -> Answer:
        return refusal if field in call.body else completion("hello")

    with serve_openai(script) as running, structlog.testing.capture_logs() as logs:
        config = OpenAiConfig(provider="openai", model="m", base_url=running.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            for _ in range(3):
                assert client.complete([{"role": "user", "content": CANARY}], schema=SCHEMA).text == "hello"
    refused = [call for call in running.calls if field in call.body]
    assert len(refused) == (2 if field == "response_format" else 1)
    assert len(running.calls) == 3 + len(refused)
    assert len(logs) == 1 and CANARY not in str(logs)
    others = {*FIELDS} - {field}
    assert all(others <= set(call.body) for call in running.calls)
    assert field != "max_tokens" or "max_completion_tokens" in running.calls[-1].body


def test_several_fields_are_left_out_one_after_the_other_also_when_many_calls_begin_together() -> None:
    def script(call: Call) -> Answer:
        bad = next(
            (name for name in ("seed", "temperature", "response_format", "max_tokens") if name in call.body), None
        )
        body = openai_error(f"Unrecognized request argument supplied: {bad}")
        return Answer(400, json.dumps(body).encode(), JSON, latency_s=0.05) if bad else completion("hello")

    with serve_openai(script) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            assert client.complete([{"role": "user", "content": "a"}], schema=SCHEMA).text == "hello"
            before = len(server.calls)
            client.complete([{"role": "user", "content": "a"}], schema=SCHEMA)
    assert (before, len(server.calls)) == (6, 7)


def test_words_of_the_transcript_in_a_refusal_change_no_setting_for_the_next_call() -> None:
    def quote(call: Call) -> Answer:
        said = call.body["messages"][0]["content"]
        if "secret" in said:
            return Answer(400, json.dumps(openai_error(f"invalid content: {said}")).encode(), JSON)
        return completion("hello")

    with serve_openai(quote) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            with pytest.raises((LlmRejected, UserError)) as raised:
                client.complete([{"role": "user", "content": "the temperature and the seed are secret"}])
            assert "secret" not in str(raised.value)
            client.complete([{"role": "user", "content": "a"}])
    assert {"temperature", "seed"} <= set(server.calls[-1].body)


SIZES: list[tuple[str, int, str, int | None]] = [
    ("OpenAI", 400, "This model's maximum context length is 8192 tokens. However, you requested 9092 tokens (900 in "
     "the "
     "messages, 8192 in the completion).", 6392),
    ("vLLM", 400, "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length "
     "is 8192 "
     "tokens and your request has 900 input tokens (8192 > 8192 - 900).", 6392),
    ("SGLang", 400, "Requested token count exceeds the model's maximum context length of 16384 tokens. You "
     "requested a total "
     "of 18192 tokens: 10000 tokens from the input messages and 8192 tokens for the completion.", 1024),
    ("OpenRouter", 400, "This endpoint's maximum context length is 131072 tokens. However, you requested about "
     "135000 tokens "
     "(126808 of text input, 8192 in the output).", 1024),
    ("TGI", 422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 900 `inputs` "
     "tokens and "
     "8192 `max_new_tokens`", 6393),
    ("OpenAI, answers", 400, "max_tokens is too large: 8192. This model supports at most 4096 completion tokens.",
     4096),
    ("DeepSeek", 400, "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]", 4096),
    ("Groq", 400, "`max_tokens` must be less than or equal to `2048`, the maximum value for this model", 2048),
    ("Vertex", 400, "a maxOutputTokens value of 8192 is given, but the supported range is from 1 (inclusive) to 4097 "
     "(exclusive).", 4096),
    ("Bedrock", 400, "The maximum tokens you requested exceeds the model limit of 4096", 4096),
    ("without a figure", 400, "max_tokens is too large", 4096),
    ("without anything", 400, "This model's maximum context length is 8192 tokens.", 1024),
    ("OpenAI, prompts", 400, "This model's maximum context length is 8192 tokens. However, you requested 17192 "
     "tokens (9000 "
     "in the messages, 8192 in the completion).", 0),
    ("llama-server", 400, "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing "
     "it", 0),
    ("xAI", 400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens.", 0),
    ("Mistral", 400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context "
     "length", 0),
    ("Groq, a rate", 413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9100, "
     "please "
     "reduce your message size", 4580),
    ("OpenAI, a rate", 429, "Request too large for m on tokens per min (TPM): Limit 10,000, Requested 30,000.", 0),
    ("a rate that time mends", 429, "Rate limit reached on tokens per min (TPM): Limit 10000, Used 9000, Requested "
     "2000.",
     None),
    ("TGI, inputs", 422, "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", 1024),
    ("a page too large", 413, "<html>Request Entity Too Large</html>", None),
    ("no size at all", 400, "invalid message", None),
]  # fmt: skip


@pytest.mark.parametrize(("server", "status", "said", "fitting"), SIZES, ids=[row[0] for row in SIZES])
def test_how_much_may_be_answered_is_read_from_what_is_said(
    server: str, status: int, said: str, fitting: int | None
) -> None:
    refusal = read_refusal(status, {}, json.dumps(openai_error(said)).encode())
    assert fitting_tokens(refusal, 8192) == fitting
    assert fitting is None or unwanted(refusal, FIELDS) in (None, "max_tokens")


@pytest.mark.parametrize(
    ("status", "body", "outcome", "words"),
    [
        (402, openai_error("Insufficient Balance", None, "invalid_request_error", "unknown_error"), UserError, "money"),
        (429, openai_error("You exceeded your current quota", None, "insufficient_quota"), UserError, "money"),
        (403, {"error": "Your team has no credits left; no credits"}, UserError, "money"),
        (400, openai_error("Your credit balance is too low to access the API"), UserError, "money"),
        (400, openai_error("the user asks: why is my balance too low, and what is billing?"), LlmRejected, "failed"),
        (413, openai_error("Request too large on tokens per minute (TPM): Limit 6000, Requested 9100", None,
         "rate_limit_exceeded", "tokens"), UserError, "account's limit"),
        (401, {"detail": "Unauthorized"}, UserError, "key is missing or wrong"),
        (403, openai_error("Input was flagged", None, 403), LlmRejected, "blocked"),
        (400, openai_error("filtered", None, "content_filter"), LlmRejected, "blocked"),
        (400, {"code": "data_inspection_failed", "message": "may hold inappropriate content"}, LlmRejected, "blocked"),
        (404, openai_error("The model `m` does not exist", None, "model_not_found"), UserError, "check `model`"),
        (404, {"detail": "Not Found"}, UserError, "ends with /v1"),
        (405, {"detail": "Method Not Allowed"}, UserError, "ends with /v1"),
        (413, "<html>Request Entity Too Large</html>", LlmRejected, "too_long"),
        (400, openai_error("9000 tokens in the messages, maximum context length is 8192"), LlmRejected, "too_long"),
        (400, openai_error("max_tokens is too large: 9. maximum context length is 8192 and your request has 900 input "
         "tokens"), UserError, "`max_tokens`"),
        (400, openai_error("Your credit balance is too low to access the API"), UserError, "no money"),
        (400, openai_error("Budget has been exceeded!", None, "400", "budget_exceeded"), UserError, "no money"),
        (400, openai_error("API key not valid. Please pass a valid API key.", None, 400), UserError, "key is missing"),
        (400, openai_error("x is not a valid model ID", None, 400), UserError, "check `model`"),
        (400, openai_error("Try again later", None, None, "rate_limit_error"), Fault, "rate_limit_error"),
        (413, openai_error("Slow down", None, "rate_limit_exceeded"), Fault, "HTTP 413"),
        (402, openai_error("Insufficient credits", None, 402), UserError, "no money"),
        (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, UserError, "no money"),
        (403, {"error": {"code": 403, "message": "Key limit exceeded"}}, UserError, "no money"),
        (401, {"message": "Inactive subscription or usage limit reached"}, UserError, "no money"),
        (412, openai_error("Account x is suspended, possibly due to reaching the monthly spending limit", None,
         "PRECONDITION_FAILED"), UserError, "no money"),
        (429, {"message": "You are using a Trial key, which is limited to 1000 calls / month."}, UserError, "money"),
        (429, [{"error": {"code": 429, "message": "Quota exceeded, limit: 0\nPlease retry in 5.1s.", "status":
         "RESOURCE_EXHAUSTED"}}], UserError, "no money"),
        (400, openai_error("The model `x` has been decommissioned and is no longer supported.", None,
         "model_decommissioned"), UserError, "check `model`"),
        (400, openai_error("Unable to access non-serverless model x."), UserError, "check `model`"),
        (400, openai_error('"x:latest" does not support chat', None, None, "api_error"), UserError, "check `model`"),
        (400, openai_error("The model `x` requires terms acceptance.", None, "model_terms_required"), UserError,
         "may not use the model"),
        (400, {"error": {"code": "BadRequest", "message": "API version not supported"}}, UserError, "`api_version`"),
        (400, openai_error("This model only support stream mode, please enable the stream parameter"), UserError,
         "in a stream"),
        (500, openai_error("model requires more system memory (9.9 GiB) than is available (7.6 GiB)"), UserError,
         "too little memory"),
        (500, openai_error("llama runner process has terminated: exit status 2"), Fault, "the model crashed"),
        (400, {"error": "The model has crashed without additional information. (Exit code: 1)"}, Fault, "crashed"),
        (400, openai_error('Failed to load model "x". Error: Operation canceled.'), Fault, "does not load"),
        (503, {"error": "Model x is currently loading", "estimated_time": 20.0}, Fault, "is loading"),
        (429, openai_error("Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try "
         "again in 20s. You can add a payment method at https://platform.openai.com/account/billing.", None,
         "rate_limit_exceeded", "requests"), Fault, "rate_limit_exceeded"),
        (429, openai_error("Please try again in 2.5s. Need more tokens? Upgrade at /settings/billing"), Fault, "429"),
        (429, [{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing "
         "details.\nPlease retry in 37.5s.", "status": "RESOURCE_EXHAUSTED"}}], Fault, "HTTP 429 RESOURCE_EXHAUSTED"),
        (400, {"error": {"message": "Failed to generate JSON.", "code": "json_validate_failed", "failed_generation":
         "Your credit balance is too low, insufficient balance, context length"}}, LlmRejected, "failed"),
        (498, openai_error("Flex tier capacity exceeded", None, "capacity_exceeded"), Fault, "HTTP 498"),
        (400, openai_error("something else"), LlmRejected, "failed"),
        (400, "", LlmRejected, "failed"),
    ],
)  # fmt: skip
def test_what_is_our_own_is_never_said_of_a_transcript(
    status: int, body: Any, outcome: type[Exception], words: str
) -> None:
    fault = fault_of(CONFIG, status, {}, (body if isinstance(body, str) else json.dumps(body)).encode())
    assert type(fault) is outcome
    assert words in (fault.kind if isinstance(fault, LlmRejected) else str(fault))


@pytest.mark.parametrize(
    "said", ["Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more", "Tokens per day limit exceeded"]
)
def test_a_limit_of_a_day_is_not_waited_for(said: str) -> None:
    with serve_openai(lambda _: Answer(429, json.dumps(openai_error(said)).encode(), JSON)) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with (
            LlmClient(config, lambda name: name, 60, patience=HASTY) as client,
            pytest.raises(ServerDown, match="takes no more today"),
        ):
            client.complete([{"role": "user", "content": "a"}])
    assert len(server.calls) == 1


def test_money_that_is_set_aside_for_calls_in_flight_comes_back() -> None:
    busy = Answer(402, b'{"error": {"code": 402, "message": "In-flight budget"}}', {**JSON, "retry-after": "0.01"})
    with serve_openai(lambda call: busy if call.number == 0 else completion("hello")) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            assert client.complete([{"role": "user", "content": "a"}]).text == "hello"


@pytest.mark.parametrize("answered", [False, True])
def test_a_server_that_refuses_whatever_it_is_asked_is_our_fault_and_one_that_has_answered_is_not(
    answered: bool,
) -> None:
    with serve_openai(lambda _: completion("hello")) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            if answered:
                client.complete([{"role": "user", "content": "a"}])
            server.script = lambda _: Answer(400, b'{"error": {"message": "something odd"}}', JSON)
            for number in range(4):
                with pytest.raises(LlmRejected):
                    client.complete([{"role": "user", "content": str(number)}])
            wanted = (LlmRejected, "HTTP 400") if answered else (UserError, "took none of 5 different requests")
            with pytest.raises(wanted[0], match=wanted[1]):
                client.complete([{"role": "user", "content": "4"}])


def test_a_page_that_forbids_one_request_among_others_is_no_fault_of_the_key() -> None:
    page = Answer(403, b"<html><title>Just a moment</title></html>", {"content-type": "text/html"})
    with serve_openai(lambda _: page) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            with pytest.raises(UserError, match="HTTP 403"):
                client.complete([{"role": "user", "content": "a"}])
            server.script = lambda call: page if "odd" in call.prompt else completion("hello")
            client.complete([{"role": "user", "content": "a"}])
            with pytest.raises(LlmRejected, match="HTTP 403 with a web page"):
                client.complete([{"role": "user", "content": "odd"}])


@pytest.mark.parametrize(
    ("base", "path"), [("", "/v1"), ("/", "/v1"), ("/v1/", "/v1"), ("/v1/chat/completions", "/v1"), ("/v1", "")]
)
@pytest.mark.parametrize(
    "absent", [Answer(404, b'{"detail":"Not Found"}', JSON), Answer(404, b"404 page not found"),
                                    Answer(405, b'{"detail":"Method Not Allowed"}', JSON),
                                    Answer(200, b'{"error":"Unexpected endpoint or method. (POST /x)"}', JSON),
                                    Answer(404, b'{"error":{"code":404,"message":"File Not Found"}}', JSON)],
)  # fmt: skip
def test_the_address_may_be_given_with_or_without_v1(base: str, path: str, absent: Answer) -> None:
    def script(call: Call) -> Answer:
        return completion("hello") if call.path == f"{path}/chat/completions" else absent

    with serve_openai(script) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url.removesuffix("/v1") + base)
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            for _ in range(2):
                assert client.complete([{"role": "user", "content": "a"}]).text == "hello"
    assert [call.path for call in server.calls][-2:] == [f"{path}/chat/completions"] * 2
    assert len(server.calls) <= 3


def test_a_template_without_a_system_role_gets_its_words_from_the_user() -> None:
    def script(call: Call) -> Answer:
        refused = openai_error("System role not supported", None, 400, "BadRequestError")
        return (
            Answer(400, json.dumps(refused).encode(), JSON)
            if call.body["messages"][0]["role"] == "system"
            else completion("hello")
        )

    with serve_openai(script) as server:
        config = OpenAiConfig(provider="openai", model="m", base_url=server.url)
        said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
        with LlmClient(config, lambda name: name, 60, patience=HASTY) as client:
            client.complete(said)
    assert server.calls[-1].body["messages"] == [{"role": "user", "content": "Be kind.\n\nHello"}]
