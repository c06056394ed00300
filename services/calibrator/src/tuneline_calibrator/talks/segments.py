"""Passages of a talk, and what each of them does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Literal, NamedTuple, get_args

from tuneline.data.text.words import word_count

Kind = Literal["hook", "background", "problem", "method", "result", "example", "limits", "outlook", "outro", "aside"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHORTEST_S, LONGEST_S = 20.0, 90.0

_END = re.compile(
    r"(?<![.!?…؟۔।])[.!?…؟۔।]++[\"'”’»)\]]*+(?=\s|$)"  # 3.5 and example.org go on
    r"|(?<![。！？])[。！？]++[」』”’）]*+"  # no space follows
)


class Passage(NamedTuple):
    """Some sentences of a talk."""

    text: str
    seconds: float


class Part(NamedTuple):
    """Passages of one kind in a row."""

    kind: Kind
    seconds: float


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without what stands between them."""
    ends = [0, *(found.end() for found in _END.finditer(text)), len(text)]
    told = (" ".join(text[start:end].split()) for start, end in pairwise(ends))
    return [one for one in told if any(map(str.isalnum, one))]


def grouped(said: Iterable[Passage]) -> list[Passage]:
    """Join sentences or segments until they take 20 seconds; what takes more than 90 is cut, by sentences if it can be.

    The last passage may be shorter, as is one before another with which it would take more than 90 seconds.
    """
    found: list[Passage] = []
    for one in chain.from_iterable(map(_cut, said)):
        last = found[-1] if found else None
        if last and last.seconds < SHORTEST_S and last.seconds + one.seconds <= LONGEST_S:
            found[-1] = Passage(f"{last.text} {one.text}", last.seconds + one.seconds)
        else:
            found.append(one)
    return found


def _cut(one: Passage) -> Iterator[Passage]:
    """Yield parts of at most 90 seconds, by the number of their words; a single word is never cut."""
    if one.seconds <= LONGEST_S or not word_count(one.text):
        yield one
        return
    pace = one.seconds / word_count(one.text)
    for sentence in sentences(one.text):
        parts = -(-word_count(sentence) * pace // LONGEST_S)
        letters = -(-len(sentence) // max(1, int(parts)))
        said = sentence.split() if parts > 1 else [sentence]
        text = ""
        for word in said:
            text = f"{text} {word}".strip()
            if len(text) >= letters:
                yield Passage(text, word_count(text) * pace)
                text = ""
        if text:
            yield Passage(text, word_count(text) * pace)


def merged(kinds: Sequence[Kind], passages: Sequence[Passage]) -> list[Part]:
    """Join neighbours of one kind."""
    found: list[Part] = []
    for kind, one in zip(kinds, passages, strict=True):
        if found and found[-1].kind == kind:
            found[-1] = Part(kind, found[-1].seconds + one.seconds)
        else:
            found.append(Part(kind, one.seconds))
    return found
