"""Recordings with two sides as conversations: turns of speakers, and how two texts of one recording differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from tuneline.data.io import Closed, Id
from tuneline.data.text.recordings import Segment
from tuneline.data.text.words import apart, words


class Message(Closed):
    """One turn of a call."""

    role: Literal["user", "assistant"]
    content: str


class CallRow(Closed):
    """A recording as a conversation: a line of transcripts.jsonl."""

    id: Id
    messages: list[Message]


def word_error_rate(given: str, heard: str | None) -> float | None:
    """Return the fewest insertions, deletions and substitutions per word that is given; None without a text.

    In a script without spaces each letter is a word.
    """
    from rapidfuzz.distance import Levenshtein

    truth = words(apart(given))
    if not truth or heard is None:
        return None
    return round(Levenshtein.distance(truth, words(apart(heard))) / len(truth), 4)


def call_of(name: str, segments: Sequence[Segment], assistant: str) -> CallRow | None:
    """Return a recording as a conversation, None unless `assistant` and somebody else speak.

    Everybody else is the user: a call that is handed on is still one call.
    """
    wanted = assistant.casefold().strip()
    roles = [
        ("assistant" if (one.speaker or "").casefold().strip() == wanted else "user", one.text.strip())
        for one in segments if one.text.strip()
    ]  # fmt: skip
    if {role for role, _ in roles} != {"assistant", "user"}:
        return None
    turns = [(role, " ".join(text for _, text in part)) for role, part in groupby(roles, key=lambda one: one[0])]
    messages = [Message(role="assistant" if role == "assistant" else "user", content=text) for role, text in turns]
    return CallRow(id=name, messages=messages)
