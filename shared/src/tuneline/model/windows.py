"""Token ids of conversations that begin alike: those of a window, which are computed in one pass where that is exact.

A conversation whose ids, up to the end of its last answer, are the first ids of a longer one needs no pass of its own:
what a causal model computes there does not depend on what comes later. That holds where the chat template renders an
answer alike whatever follows, which is looked at and never assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tuneline.model.answers import FoundBy, Span
from tuneline.model.chat import ChatTokenizer, Encode, Message


class Encoded(NamedTuple):
    """A conversation as the model sees it: `answers` are the ranges of its ids that the assistant says, in order."""

    ids: list[int] | None
    """None where they are the first ids of the window's longest conversation."""
    answers: list[Span]
    found_by: FoundBy


def encode_window(
    chat: ChatTokenizer, conversations: Sequence[Sequence[Message]], encode: Encode | None = None
) -> list[Encoded]:
    """Encode conversations that begin alike, the longest last. `encode` is for texts whose parts are encoded already.

    Raises UserError when the chat template refuses one, or shows no answer that the model would say.
    """
    *shorter, longest = conversations
    whole = _encoded(chat, longest, encode)
    return [*(_beginning(chat, messages, longest, whole, encode) for messages in shorter), whole]


def _beginning(
    chat: ChatTokenizer, messages: Sequence[Message], longest: Sequence[Message], whole: Encoded, encode: Encode | None
) -> Encoded:
    """Return `messages` without ids if they are the first ones of `whole`."""
    kept = len(whole.answers) - _answers(longest) + _answers(messages)
    same = list(longest[: len(messages)]) == list(messages)
    if same and whole.found_by == "generation prompts":  # then each answer was found by a rendering that ends there
        return Encoded(None, whole.answers[:kept], whole.found_by)
    own = _encoded(chat, messages, encode)
    end = own.answers[-1][1] if own.answers else 0
    assert own.ids is not None
    assert whole.ids is not None
    exact = own.answers == whole.answers[:kept] and own.ids[:end] == whole.ids[:end]
    return own._replace(ids=None) if end and exact else own


def _encoded(chat: ChatTokenizer, messages: Sequence[Message], encode: Encode | None) -> Encoded:
    ids, mask, found_by = chat.encode_conversation(messages, encode)
    borders = [at for at, (before, on) in enumerate(pairwise([0, *mask, 0])) if before != on]
    return Encoded(ids, list(zip(borders[::2], borders[1::2], strict=True)), found_by)


def _answers(messages: Sequence[Message]) -> int:
    return sum(message["role"] == "assistant" for message in messages)
