"""What the talks have in common: order and share of kinds, pace, style; also in words for the writer."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from statistics import fmean, median, quantiles

from pydantic import computed_field
from rapidfuzz.distance import Levenshtein

from tuneline.data.io import Closed
from tuneline.data.text.words import apart, word_count, words
from tuneline.judge.facts import count_questions
from tuneline_calibrator.talks.losses import shares
from tuneline_calibrator.talks.segments import KINDS, sentences

_ENGLISH = frozenset(("the", "and", "of", "to", "that", "is"))
_LEAST_ENGLISH = 0.08
"""Share of these words in a text from which on it is English; there it is a fifth, elsewhere a few are spelt so."""
_YOU, _I = frozenset(("you", "your", "yours")), frozenset(("i", "we", "my", "our", "us", "me"))
_HEDGES = frozenset(("maybe", "perhaps", "probably", "might", "could", "seems", "roughly", "likely"))


class Spread(Closed):
    """A figure over talks."""

    median: float
    low: float
    high: float


class Profile(Closed):
    """What talks have in common. Shares are of the time, rates as named."""

    talks: int
    order: list[str]
    """The order of kinds with the smallest sum of edit distances to all others."""
    shares: dict[str, Spread]
    seconds: Spread
    words: Spread
    words_per_minute: Spread
    sentence_words: Spread
    sentence_words_p90: Spread
    questions_per_sentence: Spread
    second_person_per_word: Spread | None
    first_person_per_word: Spread | None
    hedges_per_100_words: Spread | None
    """These three over the talks in English, whose words they count; null where there is none."""
    numbers_per_100_words: Spread
    distinct_words: Spread
    """Share of distinct words in the first 1,000."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def told(self) -> str:
        """Return it for a writer."""
        parts = ", ".join(f"{kind} {self.shares[kind].median:.0%}" for kind in KINDS if kind in self.shares)
        you, we = self.second_person_per_word, self.first_person_per_word
        persons = [f"you: {you.median:.1%} of the words; I or we: {we.median:.1%}"] if you and we else []
        return "\n".join(
            [
                f"length: {self.words.median:.0f} words ({self.words.low:.0f} to {self.words.high:.0f})",
                f"order: {', '.join(self.order)}",
                f"share of the time: {parts}",
                f"sentences: {self.sentence_words.median:.0f} words, one in ten over "
                f"{self.sentence_words_p90.median:.0f}",
                f"questions: {self.questions_per_sentence.median:.0%} of the sentences",
                *persons,
            ]
        )


class Style(Closed):
    """The figures of one talk."""

    sentence_words: float
    sentence_words_p90: float
    questions_per_sentence: float
    second_person_per_word: float | None
    first_person_per_word: float | None
    hedges_per_100_words: float | None
    numbers_per_100_words: float
    distinct_words: float


def style_of(text: str) -> Style:
    """Return the style of a text."""
    told, parted = sentences(text), apart(text)
    said = words(parted)
    lengths, count = [word_count(one) for one in told] or [0], max(1, len(said))
    english = _is_english(said)
    you, we, hedges = (_share(said, names) if english else None for names in (_YOU, _I, _HEDGES))
    return Style(
        sentence_words=fmean(lengths), sentence_words_p90=_p90(lengths),
        questions_per_sentence=sum(count_questions(one) > 0 for one in told) / max(1, len(told)),
        second_person_per_word=you, first_person_per_word=we,
        hedges_per_100_words=None if hedges is None else 100 * hedges,
        numbers_per_100_words=100 * len(re.findall(r"\b\d+(?:[.,]\d+)*", parted)) / count,
        distinct_words=len({*said[:1000]}) / max(1, len(said[:1000])),
    )  # fmt: skip


def _is_english(said: Sequence[str]) -> bool:
    return not said or sum(word in _ENGLISH for word in said) >= _LEAST_ENGLISH * len(said)


def _share(said: Sequence[str], names: Set[str]) -> float:
    return sum(word in names for word in said) / max(1, len(said))


def _p90(lengths: Sequence[int]) -> float:
    return quantiles(lengths, n=10, method="inclusive")[-1] if len(lengths) > 1 else float(lengths[0])


def aggregate(talks: Sequence[tuple[str, float, Sequence[str], Sequence[float]]]) -> Profile:
    """Return what talks, as (text, seconds, kinds, seconds of each kind), have in common."""
    styles = [style_of(text).model_dump() for text, *_ in talks]
    counts = [word_count(text) for text, *_ in talks]
    of_kinds = [shares(kinds, lengths) for _, _, kinds, lengths in talks]
    pace = [60 * count / seconds for count, (_, seconds, _, _) in zip(counts, talks, strict=True)]
    return Profile.model_validate(
        {
            "talks": len(talks), "order": medoid([kinds for _, _, kinds, _ in talks]),
            "shares": {k: spread([s.get(k, 0.0) for s in of_kinds]) for k in KINDS if any(k in s for s in of_kinds)},
            "seconds": spread([seconds for _, seconds, _, _ in talks]), "words": spread([float(n) for n in counts]),
            "words_per_minute": spread(pace),
            **{name: _spread_of([style[name] for style in styles]) for name in Style.model_fields},
        }
    )  # fmt: skip


def medoid(orders: Sequence[Sequence[str]]) -> list[str]:
    """Return the order with the smallest sum of edit distances to the others, the first of equals."""
    return [*min(orders, key=lambda one: sum(Levenshtein.distance(one, other) for other in orders))]


def _spread_of(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if known else None


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and largest."""
    return Spread(median=round(median(values), 6), low=round(min(values), 6), high=round(max(values), 6))
