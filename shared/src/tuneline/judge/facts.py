"""Figures about a conversation that a model is given, because it counts badly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tuneline.data.rubric import Fact
from tuneline.data.text.words import word_count
from tuneline.data.transcripts import Transcript

_QUESTION = re.compile(r"[?\uff1f\u061f]+")


def counted(fact: Fact, transcript: Transcript) -> str:
    """Return one figure in words, for both sides, and answer by answer for the assistant's."""
    exchanges = transcript.exchanges
    if fact == "exchanges":
        return f"the conversation has {len(exchanges)} exchanges."
    count: Callable[[str], int] = word_count if fact == "words" else count_questions
    mine, theirs = [count(e.assistant) for e in exchanges], [count(e.user) for e in exchanges]
    unit = "words" if fact == "words" else "questions (by question mark)"
    return f"{unit} of the assistant {sum(mine)} ({_each(mine)}), of the user {sum(theirs)}."


def count_questions(text: str) -> int:
    """Count question marks, of which several in a row are one."""
    return len(_QUESTION.findall(text))


def _each(counts: Sequence[int]) -> str:
    return "by exchange: " + ", ".join(f"{number}: {count}" for number, count in enumerate(counts, 1))
