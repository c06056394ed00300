"""Text that a model goes on with, as base models do: what is asked, in three servers' own words, and what comes back.

Servers pass over what they do not know without a word, and call the same setting by other names: `repetition_penalty`
means nothing to llama-server, which has `repeat_penalty`, and its usual order of samplers leaves a hundred times the
candidates that others leave. So a configuration names the dialect, and everything that decides is said out loud.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tuneline.errors import UserError
from tuneline.llm.config import OpenAiConfig
from tuneline.stage import Json, Usage

Dialect = Literal["llama-server", "vllm", "openai"]
Finish = Literal["stop", "word", "length", "content_filter"]

MOST_LISTED: Mapping[Dialect, int] = {"llama-server": 10_000, "vllm": 20, "openai": 5}
"""Likeliest tokens that a server lists at most, as it is installed."""

MOST_STOPS = 4
"""Stop strings that OpenAI's own server takes."""

Stop = Annotated[str, Field(min_length=1, max_length=200)]


ORDER = ("penalties", "temperature", "top_p")
"""In which llama-server applies a sampler: that of Hugging Face and vLLM."""


class Sampler(BaseModel):
    """How the next token is drawn, and where the text ends."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Temperature, 0 is greedy; null is 1 where a text is gone on with, and the model's own setting in a chat."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Tokens are drawn from the likeliest that have this probability together."""
    repetition_penalty: float = Field(default=1.0, gt=0, le=2)
    """What the scores of tokens that were there before are divided by, the prompt's among them; 1 is off."""
    max_tokens: int = Field(default=1024, ge=1, le=131_072)
    """Tokens after which the text is cut."""
    stop: tuple[Stop, ...] = Field(default=(), max_length=16)
    """Strings before which the text ends."""


class CompletionConfig(OpenAiConfig):
    """A model that goes on with a text, behind llama-server, vLLM or OpenAI's older protocol.

    The sampler comes with each call, so `temperature`, `max_tokens` and `response_format` are not used.
    """

    dialect: Dialect
    """Whose names for the sampler's settings the server knows: other names are passed over without a word."""
    context_tokens: int = Field(default=4096, ge=16, le=10_000_000)
    """Tokens on which llama-server's repetition penalty looks back; at least those of prompt and text."""

    @model_validator(mode="after")
    def _is_live(self) -> Self:
        if self.mode != "live":
            raise PydanticCustomError("mode", "mode: batches are for judges; leave it out")
        return self

    @property
    def identity(self) -> dict[str, Json]:
        unused = ("temperature", "max_tokens", "response_format")
        return {name: value for name, value in super().identity.items() if name not in unused}

    @property
    def url(self) -> str:
        """Return the address at which a text is gone on with; the chat's is never used."""
        base = self.address.rstrip("/")
        if self.dialect == "llama-server":
            return f"{base.removesuffix('/v1')}/completion"
        return f"{base}/completions" if urlsplit(base).path.strip("/") else f"{base}/v1/completions"


class Completion(NamedTuple):
    """How a model went on."""

    text: str
    """May be empty; without the stop string."""
    finish: Finish
    """`stop`: the model ended, or a stop string did where the server does not say which · `word`: a stop string ·
    `length`: cut at the limit · `content_filter`."""
    word: str
    """The stop string, where it is known."""
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    """By `tuneline.llm.prices`; None when the price is not known."""
    top: tuple[tuple[str, float], ...] = ()
    """Likeliest first tokens with their log-probabilities before any sampler, likeliest first, if they were asked."""
    tokens_cached: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(
            calls=1, input_tokens=self.tokens_in, cached_tokens=self.tokens_cached, output_tokens=self.tokens_out,
            cost_usd=self.cost_usd or 0.0, unpriced=int(self.cost_usd is None),
        )  # fmt: skip


def refuse_unsayable(config: CompletionConfig, sampler: Sampler) -> None:
    """Raise UserError for a setting that the dialect has no name for."""
    if config.dialect == "openai" and sampler.repetition_penalty != 1:
        raise UserError(
            f"repetition_penalty: {sampler.repetition_penalty:g} cannot be said in the dialect `openai`; set it to 1, "
            "or write with llama-server or vLLM"
        )
    if config.dialect == "openai" and config.base_url is None and len(sampler.stop) > MOST_STOPS:
        raise UserError(f"stop: OpenAI takes at most {MOST_STOPS} strings, there are {len(sampler.stop)}")


def body_of(config: CompletionConfig, prompt: str, sampler: Sampler, seed: int | None, listed: int) -> dict[str, Json]:
    """Return the body of a request in the dialect's words; `listed` are the likeliest first tokens to be told.

    The order of penalties, temperature and top-p is that of Hugging Face and vLLM.
    """
    drawn: dict[str, Json] = {} if seed is None else {"seed": seed}
    ends: dict[str, Json] = {"stop": list(sampler.stop)} if sampler.stop else {}
    temperature = 1.0 if sampler.temperature is None else sampler.temperature
    shared: dict[str, Json] = {"prompt": prompt, "temperature": temperature, "top_p": sampler.top_p, **ends, **drawn}
    if config.dialect == "llama-server":
        # Nothing of an earlier prompt is used: with it the probabilities move, and with them what is written.
        return {
            **shared, "n_predict": sampler.max_tokens, "top_k": 0, "min_p": 0,
            "repeat_penalty": sampler.repetition_penalty, "repeat_last_n": config.context_tokens,
            "samplers": [*ORDER], "n_probs": listed, "cache_prompt": False,
        }  # fmt: skip
    shared |= {"model": config.model, "max_tokens": sampler.max_tokens}
    shared |= {"logprobs": min(listed, MOST_LISTED[config.dialect])} if listed else {}
    if config.dialect == "vllm":
        shared |= {"repetition_penalty": sampler.repetition_penalty, "top_k": -1, "min_p": 0}
    return shared


MOST_USED = 1e12
"""No setting is as large."""


def passed_over(body: Mapping[str, Json], settings: Mapping[str, object]) -> list[str]:
    """Return the fields of a request that llama-server says to have used otherwise, or not at all."""
    beside = ("prompt", "cache_prompt")
    return [name for name, value in body.items() if name not in beside and not _equal(value, settings.get(name))]


def _equal(sent: Json, used: object) -> bool:
    if isinstance(sent, int | float) and isinstance(used, int | float) and abs(used) < MOST_USED:
        return math.isclose(sent, used, rel_tol=1e-5)  # it computes with 32 bits
    return sent == used
