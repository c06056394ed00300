"""Texts that say what is held out: the same words, or most of them in the same order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain

from tuneline.data.text.words import compared

OVERLAP = 0.7
"""F1 of ROUGE-L from which a prompt overlaps with one that is held out (Wang et al. 2022 take it for their pool)."""

LEAST_WORDS = 5
"""Words of a line from which it can overlap; everybody says `thank you very much`."""


def is_telling(line: str) -> bool:
    """Tell whether a line of a conversation is long enough that saying it again is no chance."""
    return len(compared(line)) >= LEAST_WORDS


class HeldOut:
    """Prompts that nothing may overlap with."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = sorted({tuple(compared(prompt)) for prompt in prompts} - {()})
        self._exact = frozenset(self._prompts)
        self._with: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for number, words in enumerate(self._prompts):
            for word in _numbered(words):
                self._with[word].append(number)

    def overlaps(self, text: str) -> bool:
        """Tell whether a text is a prompt that is held out, or shares most words with one, in order."""
        from rapidfuzz.distance import LCSseq

        words = tuple(compared(text))
        if words in self._exact:
            return True
        common = Counter(chain.from_iterable(self._with.get(word, ()) for word in _numbered(words)))
        for number, most in common.items():  # in any order
            other = self._prompts[number]
            if rouge_f1(most, len(words), len(other)) < OVERLAP:
                continue
            if rouge_f1(LCSseq.similarity(words, other), len(words), len(other)) >= OVERLAP:
                return True
        return False


def mostly_said(script: Iterable[str], said: HeldOut) -> bool:
    """Tell whether more of a script's lines are said there than are not; short lines do not count."""
    lines = [line for line in script if is_telling(line)]
    return 2 * sum(map(said.overlaps, lines)) > len(lines)


def _numbered(words: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield each word with how often it was there before, so that what two texts have in common can be counted."""
    before: Counter[str] = Counter()
    for word in words:
        yield word, before[word]
        before[word] += 1


def rouge_f1(common: int, one: int, other: int) -> float:
    """Return the F1 of ROUGE-L (Lin 2004): of the longest common subsequence of words, by the words of each."""
    return 2 * common / (one + other) if one and other else 0.0
