"""The provider `openai`: chat completions of OpenAI or of any server that speaks them, read without trust.

A server's message may quote the request, so only its status and the codes that are known here are ever repeated.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import cast

import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.config import OpenAiConfig, Secret
from tuneline.llm.prices import Tokens, cost_usd
from tuneline.llm.provider import GATEWAY_TIMEOUTS, PUSHBACK, BareHttp, Reply, joined, retry_after
from tuneline.stage import Json

_OPENAI_HEADERS = frozenset({"openai-organization", "openai-project"})
"""Sent to OpenAI alone, from the SDK's variables; its other variables and what it says of this machine go nowhere."""

_TOO_LONG = re.compile(r"context.{0,10}(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)
_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_BLOCKED_CODES = {"content_filter", "content_policy_violation", "invalid_prompt"}
_CONFIG_CODES = {"model_not_found", "unsupported_parameter", "unsupported_value", "invalid_api_key"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}
_SHOWN = _TOO_LONG_CODES | _BLOCKED_CODES | _CONFIG_CODES | _QUOTA_CODES | {
    "invalid_request_error", "authentication_error", "permission_error", "permission_denied", "not_found_error",
    "rate_limit_error", "rate_limit_exceeded", "requests", "tokens", "server_error", "internal_server_error",
    "api_error", "overloaded_error", "timeout_error", "unavailable_error", "not_supported_error", "billing_not_active",
    "invalid_value", "invalid_type", "unknown_parameter", "missing_required_parameter", "json_validate_failed",
    "BadRequestError", "NotFoundError", "InternalServerError", "model", "messages", "temperature", "seed", "max_tokens",
    "max_completion_tokens", "response_format",
}  # fmt: skip
"""Codes, types and fields that may be repeated; what a server says beside them could be words of a transcript."""


class OpenAiProvider:
    """Calls one model; an attempt may take `timeout_s` seconds and a little more, and is not repeated."""

    def __init__(self, config: OpenAiConfig, secret: Secret, timeout_s: float) -> None:
        self._config = config
        logging.getLogger("openai").setLevel(logging.WARNING)  # at the levels of OPENAI_LOG it writes whole requests
        also = frozenset[str]() if config.base_url else _OPENAI_HEADERS
        self.http = BareHttp(config, timeout_s, config.headers(secret), also)
        self.sdk = openai.AsyncOpenAI(
            base_url=config.address, api_key="unused", max_retries=0, http_client=self.http, default_query=config.query
        )

    async def send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        """Make one attempt. Raises Fault, LlmRejected or UserError."""
        said = cast("list[ChatCompletionMessageParam]", [{"role": m["role"], "content": joined(m)} for m in messages])
        create = self.sdk.chat.completions.with_raw_response.create
        try:
            answer = await create(model=self._config.model, messages=said, extra_body=_body(self._config, schema, seed))
        except openai.APIError as e:
            raise fault_of(e, self._config.model) from None
        return read_reply(answer.http_response.content, self._config)

    async def close(self) -> None:
        await self.sdk.close()


def request_of(
    config: OpenAiConfig, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
) -> dict[str, Json]:
    """Return the body of a request for the next message."""
    said: list[Json] = [{"role": message["role"], "content": joined(message)} for message in messages]
    return {"model": config.model, "messages": said, **_body(config, schema, seed)}


def _body(config: OpenAiConfig, schema: Mapping[str, Json] | None, seed: int | None) -> dict[str, Json]:
    # OpenAI's newer models refuse max_tokens, and many compatible servers know nothing else.
    body: dict[str, Json] = {"max_tokens" if config.base_url else "max_completion_tokens": config.max_tokens}
    if config.temperature is not None:
        body["temperature"] = config.temperature
    if seed is not None:
        body["seed"] = seed
    if schema is not None:
        named: dict[str, Json] = {"name": "answer", "strict": True, "schema": dict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


class _BodyMessage(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _BodyChoice(BaseModel):
    message: _BodyMessage
    finish_reason: str | None = None


class _BodyCached(BaseModel):
    cached_tokens: int | None = Field(default=None, ge=0, le=10**9)


class _BodyUsage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0, le=10**9)
    completion_tokens: int = Field(default=0, ge=0, le=10**9)
    prompt_tokens_details: _BodyCached | None = None


class _Body(BaseModel):
    choices: list[_BodyChoice]
    usage: _BodyUsage | None = None


def read_reply(body: bytes, config: OpenAiConfig) -> Reply:
    """Read the body of a chat completion; no choice at all is an empty text. Raises Fault when it is something else."""
    try:
        answer = _Body.model_validate_json(body)
    except ValidationError:
        raise Fault("the answer is not a chat completion", paid=True) from None
    choice = answer.choices[0] if answer.choices else _BodyChoice(message=_BodyMessage())
    tokens = answer.usage or _BodyUsage()
    cached = min((tokens.prompt_tokens_details or _BodyCached()).cached_tokens or 0, tokens.prompt_tokens)
    return Reply(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "",
        refused=bool(choice.message.refusal),
        input_tokens=tokens.prompt_tokens,
        output_tokens=tokens.completion_tokens,
        cached_tokens=cached,
        cost_usd=cost_usd(config, Tokens(tokens.prompt_tokens, cached, output=tokens.completion_tokens)),
    )


def fault_of(error: openai.APIError, model: str) -> Exception:
    """Return what an error of the SDK means: Fault, LlmRejected or UserError."""
    if isinstance(error, openai.APITimeoutError):
        return Fault("no answer in time", paid=True)
    if isinstance(error.__cause__, Fault | UserError):
        return error.__cause__
    if isinstance(error, openai.APIConnectionError):
        return Fault(f"no connection ({type(error.__cause__).__name__})")
    if not isinstance(error, openai.APIStatusError):
        return Fault("the answer is not a chat completion", paid=True)
    return _fault_of_status(error, model, {str(error.code), str(error.type)})


def _fault_of_status(error: openai.APIStatusError, model: str, codes: set[str]) -> Exception:
    detail = _detail(error)
    if error.status_code < 400 or error.status_code in (401, 403, 404) or codes & (_CONFIG_CODES | _QUOTA_CODES):
        return UserError(f"model {model}: {_server(error)} answers {detail}: {_way_out(error.status_code, codes)}")
    if error.status_code in PUSHBACK:
        overloaded = error.status_code != 429
        return Fault(detail, pushback=True, overloaded=overloaded, wait_s=retry_after(error.response.headers))
    if error.status_code >= 500 or error.status_code in (408, 409):
        paid = error.status_code in GATEWAY_TIMEOUTS
        return Fault(detail, paid=paid, wait_s=retry_after(error.response.headers))
    if error.status_code == 413 or codes & _TOO_LONG_CODES or _TOO_LONG.search(error.message):
        return LlmRejected("too_long", detail)
    return LlmRejected("blocked" if codes & _BLOCKED_CODES else "failed", detail)


def _detail(error: openai.APIStatusError) -> str:
    said = [part for part in (error.type, error.code, error.param) if isinstance(part, str) and part in _SHOWN]
    return " ".join([f"HTTP {error.status_code}", *dict.fromkeys(said)])


def _server(error: openai.APIStatusError) -> str:
    url = error.request.url
    return f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}"


def _way_out(status: int, codes: set[str]) -> str:
    if codes & _QUOTA_CODES:
        return "the account has no quota left; top it up, then run the same command again"
    if status == 401 or "invalid_api_key" in codes:
        return "the key is missing or wrong; set the variable that `api_key_env` names"
    if status == 403:
        return "this key may not use the model; choose another `model` or key"
    if status == 404 or "model_not_found" in codes:
        return "check `model`, and that `base_url` ends like …/v1"
    if status < 400:
        return "the address leads elsewhere; give the one it leads to as `base_url`"
    return "the model refuses a setting; change it or leave it out (for `temperature`: null)"
