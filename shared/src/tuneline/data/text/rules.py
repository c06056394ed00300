"""Rules that answer a criterion by looking at words: offline, free, the same on every machine.

As `rule` of a criterion one stands in for the judge, whoever that is; as `heuristic` it is for demonstration and tests,
and every report that rests on it says so. A rule sees the whole conversation, ignores case, and reads a phrase from the
beginning of a word: `refund` also finds `refunded`, but not `prefund`. A phrase is no pattern, so that no text can make
it slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tuneline.data.io import Closed
from tuneline.data.judged import Exchange
from tuneline.data.text.checks import FaultRule, Language, LengthRatio, NoArtifacts, NoLoops, Share, VariedOpenings
from tuneline.data.text.words import contains, content_words, is_stuck, triples, word_count, words

HEURISTIC_VERSION = 2
"""Part of the journal's scope: raise it when a rule would answer differently."""

Answer = Literal["YES", "NO", "NA"]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Phrases = Annotated[list[Phrase], Field(min_length=1)]

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]*_]*\s+")
_OPENING = "*_#>- \t\n"
_CLOSING = "*_\"'”’)]} \t\n"

NEAR_IDENTICAL = 0.8
"""Share of word triples that two answers have in common from which on they count as one answer given twice."""

COMPARED = 500
"""An answer is compared with so many before it: with all of them, ten thousand answers would take minutes."""


class AnswersContain(Closed):
    """YES when at least `share` of the answers contain one of the phrases."""

    rule: Literal["answers_contain"]
    any: Phrases
    share: Share = 1.0

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        return _yes(_share(contains(e.assistant, self.any) for e in exchanges) >= self.share)


class AnswersAvoid(FaultRule):
    """YES when no answer (at most the share `max_share`) contains any of the phrases."""

    rule: Literal["answers_avoid"]
    any: Phrases

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        return [n for n, e in enumerate(exchanges, 1) if contains(e.assistant, self.any)]


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
        fits = (self.min_words <= word_count(e.assistant) <= self.max_words for e in exchanges)
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
        if any(is_stuck(e.assistant) for e in exchanges):
            return "NO"
        found = [triples(words(e.assistant)) for e in exchanges]
        pairs = ((a, b) for i, a in enumerate(found) for b in found[max(0, i - COMPARED) : i])
        return _yes(_share(len(a & b) >= NEAR_IDENTICAL * len(a | b) for a, b in pairs) <= self.max_share)


class EchoesUser(Closed):
    """YES when at least `min_share` of the answers take up a content word of the message just before.

    Messages without a content word are left out; NA when there is no other.
    """

    rule: Literal["echoes_user"]
    min_share: Share

    def answer(self, exchanges: Sequence[Exchange]) -> Answer:
        said = [(content_words(e.user), content_words(e.assistant)) for e in exchanges]
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
    | EchoesUser | WellFormed | WhenUserContains | Language | NoArtifacts | NoLoops | LengthRatio | VariedOpenings,
    Field(discriminator="rule"),
]  # fmt: skip


def _yes(met: bool) -> Literal["YES", "NO"]:
    return "YES" if met else "NO"


def _share(flags: Iterable[bool]) -> float:
    met = list(flags)
    return sum(met) / len(met) if met else 0.0


def _is_well_formed(text: str) -> bool:
    begin, end = text.lstrip(_OPENING), text.rstrip(_CLOSING)
    if not begin or not end:
        return False
    return (begin[0] in "\"'“‘(" or (begin[0].isalnum() and not begin[0].islower())) and end[-1] in ".?!…。？！"
