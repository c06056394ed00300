"""One conversation of a persona with an arm: a row of `conversations.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.transcripts import Exchange
from tuneline.stage import Usage

Arm = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
"""Name of a side of the comparison: `base`, `finetuned`, or what a run calls a further one."""


class Said(Closed):
    """One message as it was sent or received."""

    role: Literal["system", "user", "assistant"]
    content: str


class AnswerFacts(Closed):
    """What the server said about one answer."""

    finish_reason: str
    """`stop`: the model ended its turn · `length`: it was cut."""
    prompt_tokens: int
    """Tokens of the whole prompt."""
    evaluated_tokens: int
    """Prompt tokens that were not in the slot's cache."""
    answer_tokens: int
    model: str = ""
    """By which name an endpoint answered; empty for a server of our own."""
    left_out: tuple[str, ...] = ()
    """Settings that an endpoint does not take."""
    paid: Usage | None = None
    """What the call took; None for a server of our own."""


class Conversation(Closed):
    """One row of conversations.jsonl."""

    id: str
    """`<persona>/<trial>/<arm>`."""
    persona: str
    trial: int
    """From 0."""
    arm: Arm
    seed: int
    """Seed of the conversation; answer k is drawn with seed + k, in both arms."""
    status: Literal["complete", "empty", "overflow", "broken"]
    """complete · an answer had no text · an answer no longer fits the context · the server failed."""
    messages: list[Said]
    """With the system prompt where there is one, as the person would see it (not folded)."""
    answers: list[AnswerFacts]
    judged_id: str
    """Id under which the judge saw it; says nothing about the arm."""

    @property
    def asked(self) -> Iterator[tuple[int, list[Said]]]:
        """Yield, for each message of the persona, its seed and what was said before."""
        places = (place for place, message in enumerate(self.messages) if message.role == "user")
        return ((self.seed + turn, self.messages[:place]) for turn, place in enumerate(places))

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        said = [message.content for message in self.messages if message.role != "system"]
        return tuple(Exchange(user, answer) for user, answer in zip(said[::2], said[1::2], strict=True))
