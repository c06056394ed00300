"""The provider `anthropic`: messages of Claude, read without trust.

Claude's servers cache what the request marks and bill the marking, so only text that is sent again soon is marked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anthropic
from anthropic.types import MessageParam, TextBlockParam, ThinkingConfigParam
from pydantic import BaseModel, Field, ValidationError, model_validator

from tuneline.errors import Fault, LlmRejected, UserError
from tuneline.llm.config import AnthropicConfig, Secret
from tuneline.llm.prices import Tokens, known_cost
from tuneline.llm.providers.provider import (
    ADDRESS,
    KEY,
    MODEL,
    MONEY,
    NAME,
    SETTING,
    AnyObject,
    BareHttp,
    Count,
    Reply,
    Schemas,
    joined,
    no_schema,
    not_taken,
    temporary_fault,
)
from tuneline.llm.providers.strangers import STATUS_OF, Stranger, Strangers, Text, error_of
from tuneline.stage import Json

if TYPE_CHECKING:
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

_HEADERS = frozenset({"anthropic-version"})
_FINISHED = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "refusal": "refusal"}
_CONTEXT = "model_context_window_exceeded"
_CATEGORIES = {"cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"}
_MONEY_CODES = {
    "contract_spend_limit_reached", "enforced_spend_limit_reached", "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable", "organization_on_hold",
}  # fmt: skip
_SHOWN = _MONEY_CODES | {
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "timeout_error", "api_error", "overloaded_error", "ramp_limit_exceeded",
}  # fmt: skip
"""Codes that may be repeated; what a server says beside them could be words of a transcript."""

_TOO_LONG = re.compile(r"prompt is too long|input is too long|exceeds? (?:the )?context (?:limit|window)", re.I)
_SUM = re.compile(r"(\d+) \+ (\d+) > (\d+)")
_SCHEMA = re.compile(r"output_config|output.?format|structured output|schema|grammar", re.I)
_OUR_SETTINGS = re.compile(r"\b(max_tokens|temperature|thinking|budget_tokens|effort|cache_control|model)\b")


class AnthropicProvider:
    """Calls one model; an attempt may take `timeout_s` seconds and a little more, and is not repeated."""

    def __init__(self, config: AnthropicConfig, secret: Secret, timeout_s: float) -> None:
        self._config, self.schemas = config, Schemas(config.model)
        self._strangers = Strangers(config, "Anthropic's messages")
        logging.getLogger("anthropic").setLevel(logging.WARNING)  # below it the SDK writes whole requests
        key = config.key(secret)
        headers = {} if key is None else {"x-api-key": key}
        self.http = BareHttp(config, timeout_s, headers, _HEADERS, partial(fault_of, config))
        base_url = config.address.rstrip("/").removesuffix("/v1")
        self.sdk = anthropic.AsyncAnthropic(
            base_url=base_url, api_key="unused", max_retries=0, http_client=self.http, open_telemetry=False
        )

    async def send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        """Make one attempt; without a schema where the model takes none. Raises Fault, LlmRejected or UserError."""
        return await self.schemas.send(lambda taken: self._send(messages, taken), schema)

    async def _send(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None) -> Reply:
        # The SDK's types know no temperature any more, but older models take one.
        extra = {} if self._config.temperature is None else {"temperature": self._config.temperature}
        create = self.sdk.messages.with_raw_response.create
        try:
            answer = await create(**request_of(self._config, messages, schema), extra_body=extra)
        except anthropic.APIError as e:
            known = e.__cause__ if isinstance(e.__cause__, Fault | LlmRejected | UserError) else _NO_MESSAGE()
            raise self._strangers.blamed(messages, known) from None
        with self._strangers.watch(messages):
            return read_reply(answer.http_response.content, self._config)

    async def close(self) -> None:
        await self.sdk.close()


_NO_MESSAGE = partial(Stranger, "the answer is not a message")


def request_of(
    config: AnthropicConfig, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None
) -> MessageCreateParamsNonStreaming:
    """Return a request for the next message: what a system says has a field of its own."""
    request: MessageCreateParamsNonStreaming = {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "messages": [_message(message) for message in messages if message["role"] != "system"],
    }
    if system := "\n\n".join(joined(message) for message in messages if message["role"] == "system"):
        request["system"] = system
    if schema is not None:
        request["output_config"] = {"format": {"type": "json_schema", "schema": dict(schema)}}
    if config.effort is not None:
        request["output_config"] = {**request.get("output_config", {}), "effort": config.effort}
    if config.thinking is not None:
        request["thinking"] = _thinking(config.thinking)
    return request


def _thinking(wanted: str | int) -> ThinkingConfigParam:
    if isinstance(wanted, int):
        return {"type": "enabled", "budget_tokens": wanted}
    return {"type": "adaptive"} if wanted == "adaptive" else {"type": "disabled"}


def _message(message: Mapping[str, str]) -> MessageParam:
    blocks: list[TextBlockParam] = [{"type": "text", "text": joined(message)}]
    if shared := message.get("shared", "").strip():
        own = message["content"].strip()
        blocks = [{"type": "text", "text": shared, "cache_control": {"type": "ephemeral"}}]
        blocks += [{"type": "text", "text": own}] if own else []
    if message["role"] == "assistant":
        return {"role": "assistant", "content": blocks}
    return {"role": "user", "content": blocks}


class _Block(BaseModel):
    type: str = ""
    text: str | None = None


class _StopDetails(BaseModel):
    category: object = None


class _Usage(BaseModel):
    input_tokens: Count = 0
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    output_tokens: Count = 0


class _Body(BaseModel):
    content: list[_Block]
    stop_reason: Text = None
    stop_details: Annotated[_StopDetails, AnyObject] = _StopDetails()
    usage: Annotated[_Usage, AnyObject] = Field(default_factory=_Usage)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        """Bring the content of what calls itself a message into the protocol's form."""
        if not isinstance(value, dict) or value.get("type") != "message" or "content" not in value:
            return value
        content = value["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if isinstance(content, list):
            content = [b for b in content if isinstance(b, dict) and isinstance(b.get("text"), str | None)]
        return {**value, "content": content}


def read_reply(body: bytes, config: AnthropicConfig) -> Reply:
    """Read the body of a message. Raises what an error in it means, Stranger when it is something else."""
    try:
        answer = _Body.model_validate_json(body)
    except ValidationError:
        status = STATUS_OF.get(str(error_of(body).get("type")))
        raise (fault_of(config, status, {}, body) if status else _NO_MESSAGE()) from None
    used, reason = answer.usage, answer.stop_reason or ""
    written, cached = used.cache_creation_input_tokens, used.cache_read_input_tokens
    tokens = Tokens(used.input_tokens + written + cached, cached, written, used.output_tokens)
    return Reply(
        text="".join(block.text or "" for block in answer.content if block.type == "text"),
        finish_reason="context" if reason == _CONTEXT else _FINISHED.get(reason, "other"),
        refused=reason == "refusal",
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=cached,
        cost_usd=known_cost(config, tokens),
        cache_write_tokens=written,
        cause=_cause(reason, answer.stop_details.category),
    )


def _cause(reason: str, category: object) -> str:
    """Return why an answer did not end by itself, in codes that are known."""
    if reason not in {_CONTEXT, "max_tokens", "refusal", "tool_use", "pause_turn"}:
        return ""
    named = [category] if isinstance(category, str) and category in _CATEGORIES else []
    return " ".join(["stop_reason", reason, *named])


def fault_of(config: AnthropicConfig, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """Return what an error of the server means: Fault, LlmRejected or UserError."""
    error = error_of(body)
    details, said = error.get("details"), str(error.get("message", ""))
    code = details.get("error_code") if isinstance(details, dict) else None
    codes = [c for c in (error.get("type"), code) if isinstance(c, str) and c in _SHOWN]
    detail = " ".join([f"HTTP {status}", *dict.fromkeys(codes)])
    # A limit on the rate is one whatever its status, and no money is no passing trouble.
    passing = None if _MONEY_CODES & {*codes} else 429 if "rate_limit_error" in codes else status
    if passing and (fault := temporary_fault(passing, headers, detail)):
        return fault
    if way_out := _way_out(status, {*codes}, said):
        return not_taken(config, detail, way_out)
    return _rejection(config, status, detail, said)


def _rejection(config: AnthropicConfig, status: int, detail: str, said: str) -> Exception:
    if status == 413 or _TOO_LONG.search(said):
        return _too_long(config, detail, said)
    if "content filtering policy" in said:
        return LlmRejected("blocked", f"{detail} content filter")
    if _SCHEMA.search(said) and "effort" not in said:
        return no_schema(config, detail)
    if setting := _OUR_SETTINGS.search(said):
        return not_taken(config, detail, SETTING.format(setting[1]))
    return LlmRejected("failed", detail)


def _too_long(config: AnthropicConfig, detail: str, said: str) -> Exception:
    # Input and answer share the context: a limit on the answer that takes most of it is our setting, not the input.
    if (found := _SUM.search(said)) and int(found[2]) * 4 > int(found[3]):
        return not_taken(config, detail, "`max_tokens` takes too much of the model's context; lower it")
    return LlmRejected("too_long", detail)


def _way_out(status: int, codes: set[str], said: str) -> str | None:
    if status == 402 or codes & (_MONEY_CODES | {"billing_error"}) or re.search(r"credit balance|usage limits", said):
        return MONEY
    if "authentication_error" in codes:
        return KEY
    return ADDRESS if status < 400 else {401: KEY, 403: MODEL, 404: NAME}.get(status)
