"""What a chat completion says, read without trust: servers answer 200 with the strangest things."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import Fault
from tuneline.llm.config import LlmConfig


class Reply(NamedTuple):
    """One answer of a model."""

    text: str
    """May be empty."""
    finish_reason: str
    """`stop` · `length`: cut at the limit · `content_filter` · whatever else the server says; may be empty."""
    refused: bool
    """The model declined in the protocol's own field."""
    input_tokens: int
    """Tokens of the prompt, cached ones included."""
    output_tokens: int
    cached_tokens: int
    """Tokens of the prompt that the server had already evaluated."""
    cost_usd: float


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _Details | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


def read_reply(body: bytes, config: LlmConfig) -> Reply:
    """Read the body of a chat completion; no choice at all is an empty text. Raises Fault when it is something else."""
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        raise Fault("the answer is not a chat completion", paid=True) from None
    choice = completion.choices[0] if completion.choices else _Choice(message=_Message())
    usage = completion.usage or _Usage()
    details = usage.prompt_tokens_details or _Details()
    return Reply(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "",
        refused=bool(choice.message.refusal),
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=details.cached_tokens or 0,
        cost_usd=_cost(config, usage.prompt_tokens, details.cached_tokens or 0, usage.completion_tokens),
    )


def _cost(config: LlmConfig, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
    cached_usd = config.input_usd if config.cached_input_usd is None else config.cached_input_usd
    fresh = input_tokens - cached_tokens
    return round((fresh * config.input_usd + cached_tokens * cached_usd + output_tokens * config.output_usd) / 1e6, 9)
