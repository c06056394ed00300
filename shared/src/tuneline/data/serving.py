"""How a model answers, for whoever serves it: `serving.json`, which the evaluator leaves behind."""

from __future__ import annotations

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.stage import Params

LARGEST_DEFAULT_CONTEXT = 8192
"""Tokens of context where nobody asks for another number: memory grows with it."""


class SamplerParams(Params):
    """How an answer is drawn, the same in both arms; whatever is not here is off."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    """Flattens (above 1) or sharpens what is drawn from (0 is greedy); use what people will use."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Smallest share of probability that is sampled from (1 is off)."""
    top_k: int = Field(default=40, ge=0)
    """Number of likeliest tokens that are sampled from (0 is off)."""
    min_p: float = Field(default=0.05, ge=0, le=1)
    """Least probability of a token relative to the likeliest (0 is off)."""
    max_answer_tokens: int = Field(default=512, ge=1)
    """Tokens after which an answer is cut; the report counts cut answers, so raise it when there are many."""


class Serving(Closed):
    """serving.json: the settings with which both arms answered."""

    context_tokens: int
    """Tokens one conversation may use."""
    sampler: SamplerParams
    system_prompt: str | None = None
    """As it was sent: control tokens of the model are broken in it."""
    folded: bool = False
    """Whether it stood at the beginning of the first question, because the chat template takes no system message."""
