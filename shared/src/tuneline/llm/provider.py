"""What a provider is: one attempt at a call, with the official SDK of whoever serves the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tuneline.stage import Json


class LlmRequest(NamedTuple):
    """What is asked for beside the messages."""

    schema: Mapping[str, Json] | None = None
    """JSON schema that the answer is to follow."""
    seed: int | None = None


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


class Provider(Protocol):
    """Sends to one model; the client that holds it has turns, retries and the wall time."""

    async def send(self, messages: Sequence[Mapping[str, str]], request: LlmRequest) -> Reply:
        """Make one attempt. Raises Fault, LlmRejected or UserError."""

    async def close(self) -> None:
        """Hang up."""
