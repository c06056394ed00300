"""Texts that say what is held out: the same words, or most of them in the same order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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
        self._exact = frozenset(tuple(compared(prompt)) for prompt in prompts) - {()}
        self._by_length: defaultdict[int, list[tuple[str, ...]]] = defaultdict(list)
        for words in sorted(self._exact):
            self._by_length[len(words)].append(words)

    def overlaps(self, text: str) -> bool:
        """Tell whether a text is a prompt that is held out, or shares most words with one, in order."""
        from rapidfuzz.distance import LCSseq
        from rapidfuzz.process import extractOne

        words = tuple(compared(text))
        if words in self._exact:
            return True
        near = (
            length for length in self._by_length if rouge_f1(min(length, len(words)), length, len(words)) >= OVERLAP
        )
        return any(
            extractOne(
                words, self._by_length[length], scorer=LCSseq.similarity, score_cutoff=_needed(length, len(words))
            )
            for length in near
        )


def mostly_said(script: Iterable[str], said: HeldOut) -> bool:
    """Tell whether more of a script's lines are said there than are not; short lines do not count."""
    lines = [line for line in script if is_telling(line)]
    return 2 * sum(map(said.overlaps, lines)) > len(lines)


def _needed(one: int, other: int) -> int:
    """Return how many words texts of so many must have in common to overlap; at most all of the shorter one."""
    about = int(OVERLAP * (one + other) / 2)
    return next(n for n in range(max(0, about - 1), about + 3) if rouge_f1(n, one, other) >= OVERLAP)


def rouge_f1(common: int, one: int, other: int) -> float:
    """Return the F1 of ROUGE-L (Lin 2004): of the longest common subsequence of words, by the words of each."""
    return 2 * common / (one + other) if one and other else 0.0
