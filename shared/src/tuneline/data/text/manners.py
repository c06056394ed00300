"""How people write: how long their messages are, and what is careless in them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tuneline.data.text.words import words

LONGEST = 0.9
"""Share of the messages of a style that keep to its limit of words."""


class Style(NamedTuple):
    """A way to write."""

    name: str
    """`short`, `medium` or `long`: the third of the people who write so."""
    max_words: int
    """Words that nine of ten of their messages keep to."""


def _first_letter(message: str) -> str:
    return next((c for c in message if c.isalpha()), "")


FLAWS: Mapping[str, Callable[[str], bool]] = {
    "begins a sentence with a small letter": lambda text: _first_letter(text).islower(),
    "leaves out the mark at the end": lambda text: text[-1:].isalnum(),
    "repeats marks, as in !!": lambda text: bool(re.search(r"[!?]{2}", text)),
    "trails off with dots": lambda text: "..." in text or "…" in text,
    "writes in capitals": lambda text: text.isupper() and sum(c.isalpha() for c in text) >= 4,
    "puts a space before a mark": lambda text: bool(re.search(r"\w [,.!?](\s|$)", text)),
    "uses emoji": lambda text: any(unicodedata.category(c) == "So" for c in text),
    "writes a word twice": lambda text: bool(re.search(r"\b(\w{2,}) \1\b", text, re.IGNORECASE)),
}
"""What may be careless in a message, by the words a persona is told it with."""


def flaws_in(message: str) -> list[str]:
    """Return what is careless in a message."""
    text = message.strip()
    return [name for name, found in FLAWS.items() if found(text)]


def styles_of(people: Sequence[Sequence[str]]) -> list[Style]:
    """Return how people write, by the messages of each: thirds of them, by the mean words of a message."""
    lengths = [[len(words(message)) for message in messages] for messages in people if messages]
    ranked = sorted(lengths, key=lambda one: sum(one) / len(one))
    names = ("short", "medium", "long")[: len(ranked)]
    cuts = [round(i * len(ranked) / len(names)) for i in range(len(names) + 1)] if names else []
    thirds = (sorted(n for one in ranked[a:b] for n in one) for a, b in pairwise(cuts))
    limits = (max(3, third[math.ceil(LONGEST * len(third)) - 1]) for third in thirds)
    return [Style(*found) for found in zip(names, limits, strict=True)]


def flaws_of(people: Sequence[Sequence[str]], least: int) -> dict[str, float]:
    """Return the share of messages with each flaw, for those of at least so many people; the most frequent first."""
    by_message: Counter[str] = Counter(flaw for messages in people for one in messages for flaw in flaws_in(one))
    by_person: Counter[str] = Counter(
        flaw for messages in people for flaw in {name for one in messages for name in flaws_in(one)}
    )
    count = sum(map(len, people))
    return {flaw: seen / count for flaw, seen in by_message.most_common() if by_person[flaw] >= least}
