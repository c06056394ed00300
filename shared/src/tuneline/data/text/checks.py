"""Rules that look for what is wrong with single answers: an answer has the fault, or it has not.

In a rubric they are YES when at most `max_share` of the exchanges have the fault. Over a whole set they count it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tuneline.data.io import Closed
from tuneline.data.judged import Exchange
from tuneline.data.text.artifacts import Artifact, artifacts_in
from tuneline.data.text.language import CODES, Prose, is_in, is_in_another_language
from tuneline.data.text.words import is_stuck, shrinks, word_count, words

Share = Annotated[float, Field(ge=0, le=1)]

ZLIB_BYTES, ZLIB_SHARE = 200, 0.3
"""A text of at least so many bytes repeats itself when zlib leaves less than this share; prose leaves over 0.4."""

GROUP = 4
"""Words in a row that are looked for again."""
GROUPS = 20
"""An answer with fewer such groups is too short to say that it repeats itself."""


class FaultRule(Closed):
    """A rule that finds exchanges at fault."""

    max_share: Share = 0.0
    """Share of exchanges that may have the fault."""

    @abstractmethod
    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        """Return the numbers, from 1, of the exchanges at fault."""

    def answer(self, exchanges: Sequence[Exchange]) -> Literal["YES", "NO"]:
        return "YES" if len(self.faults(exchanges)) <= self.max_share * len(exchanges) else "NO"


def _known(code: str) -> str:
    if code != "user" and code not in CODES:
        raise ValueError("`user`, or the ISO 639-1 code of a language that can be told, such as en, de or zh")
    return code


class Language(FaultRule):
    """YES when the answers are in the language of the user, or in a given one; what cannot be told is no fault."""

    rule: Literal["language"]
    language: Annotated[str, AfterValidator(_known)] = "user"
    """`user`, or an ISO 639-1 code such as `en`."""

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        if self.language != "user":
            return [n for n, e in enumerate(exchanges, 1) if not is_in(Prose(e.assistant), self.language)]
        said, answers = Prose(" ".join(e.user for e in exchanges)), [Prose(e.assistant) for e in exchanges]
        single = {
            n for n, (e, answer) in enumerate(zip(exchanges, answers, strict=True), 1)
            if is_in_another_language(answer, Prose(e.user), said)
        }  # fmt: skip
        together = Prose(" ".join(e.assistant for e in exchanges))
        if is_in_another_language(together, said, said):  # answers that are each too short to tell
            single |= {n for n, answer in enumerate(answers, 1) if answer.language is None and answer.scripts.total()}
        return sorted(single)


class NoArtifacts(FaultRule):
    """YES when no exchange holds a trace of the tools that made it, such as stage directions, tool boxes or footers."""

    rule: Literal["no_artifacts"]
    kinds: list[Artifact] | None = None
    """All, if none is named."""

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        return [n for n, e in enumerate(exchanges, 1) if any(self._counts(kind) for kind in artifacts_in(*e))]

    def _counts(self, kind: Artifact) -> bool:
        return self.kinds is None or kind in self.kinds


class NoLoops(FaultRule):
    """YES when no answer says the same thing over and over."""

    rule: Literal["no_loops"]
    max_repeated: Share = 0.5
    """Share of an answer's groups of four words that may have stood in it before."""

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        return [n for n, e in enumerate(exchanges, 1) if self._loops(e.assistant)]

    def _loops(self, text: str) -> bool:
        if shrinks(text, ZLIB_BYTES, ZLIB_SHARE):
            return True
        said = words(text)
        groups = [tuple(said[i : i + GROUP]) for i in range(len(said) - GROUP + 1)]
        repeated = 1 - len(set(groups)) / len(groups) if len(groups) >= GROUPS else 0.0
        return repeated > self.max_repeated or is_stuck(text)


class LengthRatio(FaultRule):
    """YES when answers are neither much longer nor much shorter than the messages they answer, in words."""

    rule: Literal["length_ratio"]
    min_ratio: float = Field(default=0.0, ge=0)
    """Words of an answer per word of the message, at least."""
    max_ratio: float = Field(gt=0)
    """The same, at most."""
    free_words: int = Field(default=100, ge=0)
    """An answer of at most so many words is never too long."""

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        return [n for n, e in enumerate(exchanges, 1) if self._is_off(word_count(e.user), word_count(e.assistant))]

    def _is_off(self, said: int, answered: int) -> bool:
        return answered < self.min_ratio * said or answered > max(self.free_words, self.max_ratio * said)


class VariedOpenings(FaultRule):
    """YES when at most `max_share` of the answers, from four on, begin with the same words."""

    rule: Literal["varied_openings"]
    max_share: Share = 0.5
    words: int = Field(default=3, ge=1, le=20)
    """Words of an opening."""

    def answer(self, exchanges: Sequence[Exchange]) -> Literal["YES", "NO"]:
        return "NO" if self.faults(exchanges) else "YES"

    def faults(self, exchanges: Sequence[Exchange]) -> list[int]:
        openings = [opening(e.assistant, self.words) for e in exchanges]
        [(first, count)] = Counter(openings).most_common(1) or [((), 0)]
        if count < MIN_ALIKE or count <= self.max_share * len(openings):
            return []
        return [n for n, found in enumerate(openings, 1) if found == first]


MIN_ALIKE = 4
"""Answers that begin alike before anybody speaks of a habit."""


def opening(text: str, count: int) -> tuple[str, ...]:
    """Return the first words of a text."""
    return tuple(words(text[:1000])[:count])
