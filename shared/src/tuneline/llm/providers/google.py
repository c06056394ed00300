"""The provider `google`: the Gemini API, read without trust."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

from google import genai
from google.genai import types
from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import Fault, LlmRejected
from tuneline.llm.config import GoogleConfig, Secret
from tuneline.llm.prices import Tokens, known_cost
from tuneline.llm.providers.provider import (
    A_DAY_S,
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
    folded,
    joined,
    no_schema,
    not_taken,
    retry_after,
    temporary_fault,
)
from tuneline.llm.providers.strangers import OnlyObjects, Stranger, Strangers, Text, error_of
from tuneline.stage import Json

_API_VERSION = "v1beta"
"""The only one with JSON schemas and batches."""

_BLOCKED = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR",
    "JAILBREAK", "ESCALATION",
}  # fmt: skip
_UNFINISHED = {
    "OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE", "CONTINUATION", "FINISH_REASON_UNSPECIFIED",
}  # fmt: skip
_LIMITED = "PUP_LIMITED_DISABLED"
"""The account is limited: it says nothing about what was asked."""

_KEY_REASONS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_TYPE_UNSUPPORTED"}
_MONEY_REASONS = {"BILLING_DISABLED", "CONSUMER_SUSPENDED"}
_SHOWN = _KEY_REASONS | _MONEY_REASONS | {
    "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND",
    "RESOURCE_EXHAUSTED", "CANCELLED", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "SERVICE_DISABLED",
    "RATE_LIMIT_EXCEEDED",
}  # fmt: skip
"""Codes that may be repeated; what a server says beside them could be words of a transcript."""

_TOO_LONG = re.compile(r"input token count.{0,40}exceeds|exceeds the maximum number of (?:input )?tokens", re.I)
_SYSTEM = re.compile(r"(?:developer|system) instructions? (?:is|are) not (?:enabled|supported)", re.I)
_SCHEMA = re.compile(r"JSON mode|response_?mime_?type|schema", re.I)
_OUR_SETTINGS = re.compile(
    r"\b(max_?output_?tokens|temperature|thinking(?:[_ ]?(?:budget|level|config))?|budget|seed)\b",
    re.I,
)


class NoSystem(LlmRejected):
    """The model takes no instructions of a system."""


class GoogleProvider:
    """Calls one model; an attempt may take `timeout_s` seconds and a little more, and is not repeated."""

    def __init__(self, config: GoogleConfig, secret: Secret, timeout_s: float) -> None:
        self._config, self.schemas = config, Schemas(config.model)
        self._strangers, self._system = Strangers(config, "the Gemini API"), True
        logging.getLogger("google_genai").setLevel(logging.ERROR)
        key = config.key(secret)
        headers = {} if key is None else {"x-goog-api-key": key}
        self.http = BareHttp(config, timeout_s, headers, refusal=partial(fault_of, config))
        options = types.HttpOptions(
            base_url=re.sub(r"/v1(beta)?$", "", config.address.rstrip("/")), api_version=_API_VERSION,
            httpx_async_client=self.http,
        )  # fmt: skip
        live = genai.client.DebugConfig(client_mode="")  # a variable could replay answers from a file
        self.sdk = genai.Client(vertexai=False, api_key="unused", http_options=options, debug_config=live)

    async def send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        """Make one attempt; without a schema where the model takes none. Raises Fault, LlmRejected or UserError."""
        return await self.schemas.send(lambda taken: self._send(messages, taken, seed), schema)

    async def _send(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
    ) -> Reply:
        said = messages if self._system else folded(messages)
        contents, wanted = request_of(self._config, said, schema, seed)
        ask = self.sdk.aio.models.generate_content
        try:
            answer = await ask(model=self._config.model, contents=contents, config=wanted)
        except NoSystem:
            if not self._system:
                raise
            self._system = False  # as of Gemma: what the system says is said by the user from now on
            return await self._send(messages, schema, seed)
        except LlmRejected as e:
            raise self._strangers.blamed(messages, e) from None
        body = answer.sdk_http_response.body if answer.sdk_http_response else None
        with self._strangers.watch(messages):
            return read_reply((body or "").encode("utf-8", "replace"), self._config)

    async def close(self) -> None:
        await self.http.aclose()
        self.sdk.close()


def request_of(
    config: GoogleConfig, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int | None
) -> tuple[types.ContentListUnion, types.GenerateContentConfig]:
    """Return contents and settings of a request: what a system says has a field of its own."""
    contents = [
        types.Content(role="model" if m["role"] == "assistant" else "user", parts=[types.Part(text=joined(m))])
        for m in messages
        if m["role"] != "system"
    ]
    system = "\n\n".join(joined(message) for message in messages if message["role"] == "system")
    wanted = types.GenerateContentConfig(
        system_instruction=system or None,
        temperature=config.temperature,
        seed=None if seed is None else seed % 2**31,
        max_output_tokens=config.max_tokens,
        response_mime_type=None if schema is None else "application/json",
        response_json_schema=None if schema is None else dict(schema),
        thinking_config=_thinking(config.thinking),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,  # a request is one call: what it costs is counted once
        should_return_http_response=True,
    )
    return list(contents), wanted


def _thinking(wanted: str | int | None) -> types.ThinkingConfig | None:
    if wanted is None:
        return None
    if isinstance(wanted, int):
        return types.ThinkingConfig(thinking_budget=wanted)
    return types.ThinkingConfig(thinking_level=types.ThinkingLevel(wanted.upper()))


class _Part(BaseModel):
    text: Text = None
    thought: object = None


class _Content(BaseModel):
    parts: Annotated[list[_Part] | None, OnlyObjects] = None


class _Candidate(BaseModel):
    content: Annotated[_Content, AnyObject] = _Content()
    finishReason: Text = None  # noqa: N815  (the protocol's name)


class _Feedback(BaseModel):
    blockReason: Text = None  # noqa: N815


class _Usage(BaseModel):
    promptTokenCount: Count = 0  # noqa: N815
    cachedContentTokenCount: Count = 0  # noqa: N815
    candidatesTokenCount: Count = 0  # noqa: N815
    thoughtsTokenCount: Count = 0  # noqa: N815


class _Body(BaseModel):
    candidates: Annotated[list[_Candidate] | None, OnlyObjects] = None
    promptFeedback: Annotated[_Feedback, AnyObject] = _Feedback()  # noqa: N815
    usageMetadata: Annotated[_Usage, AnyObject] = Field(default_factory=_Usage)  # noqa: N815


def read_reply(body: bytes, config: GoogleConfig) -> Reply:
    """Read the body of a generated content.

    Raises what an error in it means, Stranger when it is something else, UserError for a limited account.
    """
    try:
        answer = _Body.model_validate_json(body)
    except ValidationError:
        raise _error_in(body, config) from None
    if not answer.candidates and answer.promptFeedback.blockReason is None:
        # A server of Gemini says what it has read, whatever becomes of it.
        read = answer.usageMetadata.promptTokenCount > 0
        raise Fault("the answer has no candidate", paid=True) if read else _error_in(body, config)
    candidate = answer.candidates[0] if answer.candidates else _Candidate()
    if candidate.finishReason == _LIMITED:
        raise not_taken(config, _LIMITED, "Google has limited this account; use another key")
    finish_reason, cause = _finished(candidate.finishReason, answer.promptFeedback.blockReason)
    used = answer.usageMetadata
    cached = min(used.cachedContentTokenCount, used.promptTokenCount)
    tokens = Tokens(used.promptTokenCount, cached, output=used.candidatesTokenCount + used.thoughtsTokenCount)
    return Reply(
        text="".join(part.text or "" for part in candidate.content.parts or [] if part.thought is not True),
        finish_reason=finish_reason,
        refused=False,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=cached,
        cost_usd=known_cost(config, tokens),
        cause=cause,
    )


def _error_in(body: bytes, config: GoogleConfig) -> Exception:
    """Return what an answer without content means: an error, whatever its status says, or somebody else's answer."""
    code = error_of(body).get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return fault_of(config, code, {}, body)
    return Stranger("the answer is no generated content")


def _finished(reason: str | None, blocked: str | None) -> tuple[str, str]:
    """Return how an answer ended, and why if not at its end."""
    if reason is None and blocked is not None:
        return "content_filter", " ".join(["blockReason", *([blocked] if blocked in _BLOCKED | {"OTHER"} else [])])
    if reason in _BLOCKED:
        return "content_filter", f"finishReason {reason}"
    if reason == "MAX_TOKENS":
        return "length", f"finishReason {reason}"
    if reason == "STOP":
        return "stop", ""
    return "other", f"finishReason {reason}" if reason in _UNFINISHED else ""


def fault_of(config: GoogleConfig, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """Return what an error of the server means: Fault, LlmRejected or UserError."""
    error = error_of(body)
    said = str(error.get("message", ""))
    found = error.get("details")
    details = [d for d in found if isinstance(d, dict)] if isinstance(found, list) else []
    codes = [
        c for c in (error.get("status"), *(d.get("reason") for d in details)) if isinstance(c, str) and c in _SHOWN
    ]
    detail = " ".join([f"HTTP {status}", *dict.fromkeys(codes)])
    if way_out := _way_out(status, {*codes}, said):
        return not_taken(config, detail, way_out)
    if "RESOURCE_EXHAUSTED" in codes:  # whatever its status
        return Fault(detail, pushback=True, wait_s=_ordered_wait(details) or retry_after(headers))
    return temporary_fault(status, headers, detail) or _rejection(config, status, detail, said)


def _rejection(config: GoogleConfig, status: int, detail: str, said: str) -> Exception:
    if status == 413 or _TOO_LONG.search(said):
        return LlmRejected("too_long", detail)
    if status == 400 and _SYSTEM.search(said):
        return NoSystem("failed", detail)
    if _SCHEMA.search(said):
        return no_schema(config, detail)
    if setting := _OUR_SETTINGS.search(said):
        return not_taken(config, detail, SETTING.format(setting[1]))
    return LlmRejected("failed", detail)


def _ordered_wait(details: Sequence[Mapping[str, object]]) -> float | None:
    """Return the seconds of a RetryInfo; a quota for a day is not worth the short wait that is ordered with it."""
    if any("PerDay" in str(violation) for d in details for violation in [d.get("violations")]):
        return A_DAY_S
    delays = [re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)s", str(d.get("retryDelay", ""))) for d in details]
    return next((float(delay[1]) for delay in delays if delay), None)


def _way_out(status: int, codes: set[str], said: str) -> str | None:
    if codes & _MONEY_REASONS or re.search(r"credits are depleted|spending cap|limit: 0\b(?!\.)", said):
        return MONEY
    if codes & _KEY_REASONS or (status in (400, 403) and "API key" in said):
        return KEY
    if "FAILED_PRECONDITION" in codes:
        return "the Gemini API is not available as it is for this account or from this place"
    return ADDRESS if status < 400 else {401: KEY, 403: MODEL, 404: NAME}.get(status)
