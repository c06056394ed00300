"""Judges that prefer, as scripts of a server, and pairs for them to compare."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

from kit.obedient_judge import mark_of
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.judge.preference.judging import Contest

Rule = Callable[[str, str], str]
"""Says A, B or TIE of what it is shown as A and B."""


def shown_in(prompt: str) -> tuple[str, str]:
    """Return what a prompt shows as A and as B."""
    mark = mark_of(prompt) or ""
    first, second = (
        "\n".join(
            re.findall(rf"^--- {mark} (?:answer|conversation) {name}\b.*\n((?:(?!--- {mark}).*\n)*)", prompt, re.M)
        )
        for name in "AB"
    )
    return first.strip("\n"), second.strip("\n")


def preferred(prompt: str, rule: Rule) -> str:
    """Return a perfect answer by a rule; its reason tells one pair from the next."""
    seen = hashlib.sha256(prompt.encode()).hexdigest()[:6]
    return json.dumps({"reason": f"That one says more of it ({seen}).", "answer": rule(*shown_in(prompt))})


def longer(first: str, second: str) -> str:
    return "TIE" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


def first_one(first: str, second: str) -> str:
    return "A"


def contests(*answers: tuple[str, str], reference: str | None = None) -> list[Contest]:
    """Pairs of answers to one message each, left and right."""
    return [
        Contest(f"c{number}", _answered(number, left), _answered(number, right), reference)
        for number, (left, right) in enumerate(answers)
    ]


def _answered(number: int, text: str) -> Transcript:
    return Transcript(f"t{number}", (Exchange(f"Question {number}?", text),))
