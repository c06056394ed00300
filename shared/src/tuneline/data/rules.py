"""Rules that answer a criterion by looking at words: offline, free, the same on every machine.

They are for demonstration and tests, and every report that rests on them says so. A rule sees the whole conversation,
ignores case, and reads a phrase from the beginning of a word: `refund` also finds `refunded`, but not `prefund`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.transcripts import Exchange

HEURISTIC_VERSION = 2
"""Part of the journal's scope: raise it when a rule would answer differently."""

Answer = Literal["YES", "NO", "NA"]
Share = Annotated[float, Field(ge=0, le=1)]
Phrases = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]

_WORD = re.compile(r"\w+(?:'\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]*_]*\s+")
_LETTER_LOOP = re.compile(r"([^\W\d_]{1,10}?)\1{9,}")
_OPENING = "*_#>- \t\n"
_CLOSING = "*_\"'”’)]} \t\n"

CONTENT_WORD_LETTERS = 5
"""Shorter words (the, and, with) say little about what a message is about."""

COMMON_WORDS = frozenset(
    _WORD.findall(
        "about after again their there these thing things think those today where which while would could should "
        "really still maybe being before because going doing having please thanks since every other something"
    )
)
"""Words of five letters and more that say little either."""

NEAR_IDENTICAL = 0.8
"""Share of word triples that two answers have in common from which on they count as one answer given twice."""

COMPARED = 500
"""An answer is compared with so many before it: with all of them, ten thousand answers would take minutes."""

LOOP_COPIES = 4
"""The same words so many times in a row, over at least `LOOP_WORDS` words, are a model that got stuck, not emphasis."""
LOOP_WORDS = 8
LOOP_PERIOD = 20
"""Longest group of words whose repetition is looked for."""


class AnswersContain(Closed):
    """YES when at least `share` of the answers contain one of the phrases."""

    rule: Literal["answers_contain"]
    any: Phrases
    share: Share = 1.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        return _yes(_share(contains(e.assistant, self.any) for e in exchanges) >= self.share)


class AnswersAvoid(Closed):
    """YES when no answer contains any of the phrases."""

    rule: Literal["answers_avoid"]
    any: Phrases

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        return _yes(not any(contains(e.assistant, self.any) for e in exchanges))


class EndsWithQuestion(Closed):
    """YES when the share of answers whose last sentence asks something lies in [`share`, `max_share`]."""

    rule: Literal["ends_with_question"]
    share: Share
    max_share: Share = 1.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        asking = _share("?" in _SENTENCE_END.split(e.assistant.strip())[-1] for e in exchanges)
        return _yes(self.share <= asking <= self.max_share)


class Length(Closed):
    """YES when at least `share` of the answers have between `min_words` and `max_words` words."""

    rule: Literal["length"]
    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(ge=1)
    share: Share = 1.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        fits = (self.min_words <= len(words(e.assistant)) <= self.max_words for e in exchanges)
        return _yes(_share(fits) >= self.share)


class OneAnswerContains(Closed):
    """YES when the first or the last answer contains one of the phrases."""

    rule: Literal["first_answer_contains", "last_answer_contains"]
    any: Phrases

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        place = 0 if self.rule == "first_answer_contains" else -1
        return _yes(bool(exchanges) and contains(exchanges[place].assistant, self.any))


class NoRepetition(Closed):
    """YES when at most `max_share` of the pairs of answers are nearly the same and no answer is stuck in a loop."""

    rule: Literal["no_repetition"]
    max_share: Share = 0.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        if any(_is_stuck(e.assistant) for e in exchanges):
            return "NO"
        triples = [_triples(words(e.assistant)) for e in exchanges]
        pairs = ((a, b) for i, a in enumerate(triples) for b in triples[max(0, i - COMPARED) : i])
        return _yes(_share(len(a & b) >= NEAR_IDENTICAL * len(a | b) for a, b in pairs) <= self.max_share)


class EchoesUser(Closed):
    """YES when at least `min_share` of the answers take up a content word of the message just before.

    Messages without a content word are left out; NA when there is no other.
    """

    rule: Literal["echoes_user"]
    min_share: Share

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        said = [(_content_words(e.user), _content_words(e.assistant)) for e in exchanges]
        taken_up = [bool(user & assistant) for user, assistant in said if user]
        return _yes(_share(taken_up) >= self.min_share) if taken_up else "NA"


class WellFormed(Closed):
    """YES when at least `share` of the answers begin like a sentence and end with . ? or !"""

    rule: Literal["well_formed"]
    share: Share = 1.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        return _yes(_share(_is_well_formed(e.assistant) for e in exchanges) >= self.share)


class WhenUserContains(Closed):
    """YES when each message with a phrase of `user_any` is answered with one of `any`; NA without such a message."""

    rule: Literal["when_user_contains"]
    user_any: Phrases
    any: Phrases

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        asked = [e for e in exchanges if contains(e.user, self.user_any)]
        return _yes(all(contains(e.assistant, self.any) for e in asked)) if asked else "NA"


Rule = Annotated[
    AnswersContain | AnswersAvoid | EndsWithQuestion | Length | OneAnswerContains | NoRepetition
    | EchoesUser | WellFormed | WhenUserContains,
    Field(discriminator="rule"),
]  # fmt: skip


def contains(text: str, phrases: Iterable[str]) -> bool:
    """Return whether one of the phrases stands in the text, from the beginning of a word."""
    plain = _plain(text)
    return any(_stands_in(plain, _plain(phrase)) for phrase in phrases)


def words(text: str) -> list[str]:
    """Return the words of a text, folded to lower case."""
    return _WORD.findall(_plain(text))


def _yes(met: bool) -> Literal["YES", "NO"]:
    return "YES" if met else "NO"


def _share(flags: Iterable[bool]) -> float:
    met = list(flags)
    return sum(met) / len(met) if met else 0.0


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())


def _stands_in(text: str, phrase: str) -> bool:
    at = text.find(phrase)
    while at > 0 and text[at - 1].isalnum() and phrase[0].isalnum():
        at = text.find(phrase, at + 1)
    return at >= 0


def _content_words(text: str) -> set[str]:
    return {w for w in words(text) if len(w) >= CONTENT_WORD_LETTERS and w not in COMMON_WORDS}


def _is_well_formed(text: str) -> bool:
    begin, end = text.lstrip(_OPENING), text.rstrip(_CLOSING)
    if not begin or not end:
        return False
    return (begin[0] in "\"'“‘(" or (begin[0].isalnum() and not begin[0].islower())) and end[-1] in ".?!…。？！"


def _triples(said: list[str]) -> set[tuple[str, ...]]:
    return {tuple(said[i : i + 3]) for i in range(max(1, len(said) - 2))}


def _is_stuck(text: str) -> bool:
    if _LETTER_LOOP.search(text.casefold()):
        return True
    said = words(text)
    return any(_repeats(said, period) for period in range(1, min(LOOP_PERIOD, len(said) // LOOP_COPIES) + 1))


def _repeats(said: list[str], period: int) -> bool:
    """Return whether some `period` words stand there `LOOP_COPIES` times in a row, over at least `LOOP_WORDS` words."""
    needed = max((LOOP_COPIES - 1) * period, LOOP_WORDS - period)
    run = 0
    for i in range(period, len(said)):
        run = run + 1 if said[i] == said[i - period] else 0
        if run >= needed:
            return True
    return False
