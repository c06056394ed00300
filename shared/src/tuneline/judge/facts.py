"""Figures about a conversation that a model is given, because it counts badly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tuneline.data.rubric import Fact
from tuneline.data.transcripts import Transcript

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_QUESTION = re.compile(r"[?\uff1f\u061f]+")


def counted(fact: Fact, transcript: Transcript) -> str:
    """Return one figure in words, for both sides, and answer by answer for the assistant's."""
    exchanges = transcript.exchanges
    if fact == "exchanges":
        return f"the conversation has {len(exchanges)} exchanges."
    count: Callable[[str], int] = count_words if fact == "words" else count_questions
    mine, theirs = [count(e.assistant) for e in exchanges], [count(e.user) for e in exchanges]
    unit = "words" if fact == "words" else "questions (by question mark)"
    return f"{unit} of the assistant {sum(mine)} ({_each(mine)}), of the user {sum(theirs)}."


def count_words(text: str) -> int:
    """Count words; of scripts that set no spaces between them, characters."""
    unspaced = len(_UNSPACED.findall(text))
    return unspaced + len(_WORD.findall(_UNSPACED.sub(" ", text)))


def count_questions(text: str) -> int:
    """Count question marks, of which several in a row are one."""
    return len(_QUESTION.findall(text))


def _each(counts: Sequence[int]) -> str:
    return "by exchange: " + ", ".join(f"{number}: {count}" for number, count in enumerate(counts, 1))
