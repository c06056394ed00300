"""Texts that are nearly the same, by the Jaccard index of their word sequences, without comparing every two.

Put the members of each set into one order. If two sets are as alike as asked, their beginnings have a member in common:
of what is behind a beginning there is less than they must share (prefix filtering, Bayardo, Ma and Srikant 2007). The
order is from rare to common, so that few sets have to be compared. Nothing is estimated, and nothing is missed.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from tuneline.data.text.words import compared

SHINGLE_WORDS = 5
"""Words in a row that are compared as one: long enough that a common phrase does not make two texts alike."""


def normal(text: str) -> str:
    """Return the words of a text in a row: case, punctuation and spaces do not count, and neither does spelling."""
    return " ".join(compared(text))


def shingles_of(text: str, shingle_words: int = SHINGLE_WORDS) -> array[int]:
    """Return a text's different word sequences, as `compared` has the words, as hashes of 64 bits.

    They can be compared within this process alone. A text of fewer words is one sequence, also one of no words.
    """
    words = compared(text)
    shifted = [words[at:] for at in range(min(shingle_words, len(words)))]
    return array("q", {hash(sequence) for sequence in zip(*shifted, strict=False)} or {hash(())})


def jaccard(one: Collection[int], other: Collection[int]) -> float:
    """Return what two sets have in common, as a share of what both have together."""
    common = len(frozenset(one).intersection(other))
    return common / (len(one) + len(other) - common)


def near_duplicates(names: Sequence[str], texts: Sequence[Sequence[int]], similarity: float) -> list[list[str]]:
    """Group the names of texts that are near-duplicates, directly or through others; most groups have one member."""
    index = Index(texts, similarity)
    for number in range(len(texts)):
        index.join(number)
        index.take(number)
    groups: dict[int, list[str]] = {}
    for number, name in enumerate(names):
        groups.setdefault(index.group_of(number), []).append(name)
    return sorted(sorted(group) for group in groups.values())


def firsts(texts: Sequence[Sequence[int]], similarity: float) -> list[bool]:
    """Tell of each text whether none is alike that comes before it and is a first itself."""
    index = Index(texts, similarity)
    found: list[bool] = []
    for number in range(len(texts)):
        found.append(not index.join(number))
        if found[-1]:
            index.take(number)
    return found


class Index:
    """Texts, as `shingles_of` has them, that are found by what they have in common with another of them."""

    def __init__(self, texts: Sequence[Sequence[int]], similarity: float) -> None:
        self._texts, self._similarity = texts, similarity
        self._beginnings = _beginnings(texts, similarity)
        self._leader = list(range(len(texts)))
        self._long, self._short = _Taken(), _Taken()

    def take(self, number: int) -> None:
        """Let a text be found from now on."""
        long, short = self._beginnings[number]
        for taken, members in ((self._long, long), (self._short, short)):
            taken.take(number, members, self.group_of)

    def join(self, number: int) -> bool:
        """Put a text together with each group of those taken that has one alike; tell whether there is such a group."""
        long, short = self._beginnings[number]
        mine, looked_at = frozenset(self._texts[number]), set[int]()
        for taken, members in ((self._short, long), (self._long, short)):
            for other in taken.of_other_groups(number, members, self.group_of):
                if other not in looked_at and jaccard(mine, self._texts[other]) >= self._similarity:
                    self._leader[self.group_of(number)] = self.group_of(other)
                looked_at.add(other)
        return self.group_of(number) != number

    def group_of(self, number: int) -> int:
        """Return the text that stands for all that this one is alike to, directly or through others."""
        while self._leader[number] != number:
            self._leader[number] = number = self._leader[self._leader[number]]
        return number


class _Taken:
    """Texts by the members that they begin with."""

    def __init__(self) -> None:
        self._by_member: defaultdict[int, list[int]] = defaultdict(list)
        self._of_several: set[int] = set()
        """Members that texts of several groups begin with. Of another the first text tells the group of all."""

    def take(self, number: int, members: Sequence[int], group_of: Callable[[int], int]) -> None:
        for member in members:
            taken = self._by_member[member]
            if taken and group_of(taken[0]) != group_of(number):
                self._of_several.add(member)
            taken.append(number)

    def of_other_groups(self, number: int, members: Sequence[int], group_of: Callable[[int], int]) -> Iterator[int]:
        for member in members:
            for other in self._by_member.get(member, ()):
                if group_of(other) != group_of(number):
                    yield other
                elif member not in self._of_several:
                    break


class _Beginning(NamedTuple):
    """A text's rarest members: of two that are alike, the longer one's `long` has one of the other's `short`."""

    long: Sequence[int]
    short: Sequence[int]


def _beginnings(texts: Sequence[Sequence[int]], similarity: float) -> list[_Beginning]:
    """Return what each text begins with, without what no other has.

    Two that are alike with a similarity s have at least s of the longer one in common and, as that is at least
    s / (1 + s) of both lengths together, 2 s / (1 + s) of the shorter one. Members are counted by their last bits, in
    about as much memory as the texts take: any one order will do, and a member that is counted once is in one text.
    """
    last_bits = (1 << sum(map(len, texts)).bit_length() + 1) - 1
    counts = array("I", [0]) * (last_bits + 1)
    for text in texts:
        for member in text:
            counts[member & last_bits] += 1
    found: list[_Beginning] = []
    for text in texts:
        ordered = sorted(text, key=lambda member: (counts[member & last_bits], member))
        lengths = (
            len(text) - math.ceil(share * len(text) - 1e-9) + 1
            for share in (similarity, 2 * similarity / (1 + similarity))
        )
        found.append(_Beginning(*(
            array("q", (member for member in ordered[:length] if counts[member & last_bits] > 1)) for length in lengths
        )))  # fmt: skip
    return found
