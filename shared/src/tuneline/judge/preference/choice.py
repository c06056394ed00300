"""What a judge chose, how that is read, and what two orders of one pair come to."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from tuneline.data.verdicts import Asking
from tuneline.errors import Unreadable
from tuneline.judge.answer import as_reason, candidates
from tuneline.judge.substance import FEW, MANY, MOST_EQUAL, MOST_HOLLOW, is_hollow, plain

Side = Literal["A", "B", "TIE"]
Ending = Literal["win", "loss", "tie", "flip", "unjudged"]

_KEYS = {"reason", "answer"}
_WORDS: dict[str, Side] = {
    "A": "A", "B": "B", "TIE": "TIE", "TIED": "TIE", "DRAW": "TIE", "EQUAL": "TIE", "NEITHER": "TIE", "BOTH": "TIE",
    "A=B": "TIE",
}  # fmt: skip
_NOUNS = ("ANSWER ", "RESPONSE ", "CONVERSATION ", "ASSISTANT ", "OPTION ", "MODEL ")


class Choice(Asking):
    """Which of two a judge prefers, in the order in which they were shown: a row of the journal."""

    answer: Side | None = None
    reason: str = ""

    def score(self, *, second: bool) -> float | None:
        """Return what it gives the one shown second (or first): 1 preferred, 0.5 neither, 0 the other one."""
        if self.answer is None:
            return None
        return 0.5 if self.answer == "TIE" else float((self.answer == "B") == second)


def read_choice(text: str, said: str) -> dict[str, object]:
    """Read the answer of a judge, but none that stands in `said`, what it was shown.

    Raises Unreadable unless there is exactly one valid answer.
    """
    found = [_strict(candidate) for candidate in candidates(text, _KEYS, said)]
    if any(other["answer"] != found[-1]["answer"] for other in found):
        raise Unreadable(f"{len(found)} preferences that differ")
    return found[-1]


def _strict(found: dict[str, object]) -> dict[str, object]:
    if missing := _KEYS - found.keys():
        raise Unreadable(f"it has no {' and no '.join(sorted(missing))}")
    answer, reason = as_side(found["answer"]), as_reason(found["reason"])
    if answer is None:
        raise Unreadable("the answer is not A, B or TIE")
    if reason is None:
        raise Unreadable("the reason is not text")
    return {"answer": answer, "reason": reason}


def as_side(value: object) -> Side | None:
    """Return the side that a word means, however written; None for everything else."""
    if not isinstance(value, str):
        return None
    word = value.strip(" \t\r\n.!\"'*_`[]()").upper()
    for noun in _NOUNS:
        word = word.removeprefix(noun)
    return _WORDS.get(word)


def ending(first: float | None, second: float | None) -> Ending:
    """Return what both orders say of one side: a win or a loss only where they agree.

    One that decides and one that does not are a tie; two that decide for different ones are a flip.
    """
    if first is None or second is None:
        return "unjudged"
    if first == second != 0.5:
        return "win" if first else "loss"
    return "flip" if abs(first - second) == 1 else "tie"


class ChoiceSubstance:
    """Counts what choices hold: reasons may be empty, or always the same one. Not safe for threads."""

    def __init__(self, question: str) -> None:
        self._question, self._hollow = plain(question), 0
        self._reasons: Counter[str] = Counter()

    def add(self, choice: Choice) -> None:
        """Count a choice."""
        self._reasons[plain(choice.reason)] += 1
        self._hollow += self.is_empty(choice)

    def is_empty(self, choice: Choice) -> bool:
        """Tell whether its reason says nothing."""
        bare = plain(choice.reason)
        return is_hollow(bare) or bare == self._question

    def problem(self, total: int) -> str:
        """Say what is wrong with the judge; nothing as long as it cannot be told. `total` choices are to be made."""
        count = self._reasons.total()
        if count >= min(FEW, total) and self._hollow > MOST_HOLLOW * count:
            return f"{self._hollow} of {count} reasons are empty or copied from the prompt (hollow reasons)"
        most = max(self._reasons.values(), default=0)
        if count >= MANY and most > MOST_EQUAL * count:
            return f"{most} of {count} reasons are the same one (one reason for everything)"
        return ""
