"""The five losses of a script against a recorded talk, each between 0 (alike) and 1, and when trials stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from rapidfuzz.distance import LCSseq, Levenshtein

from tuneline.data.text.words import compared

T = TypeVar("T")


def duration_loss(seconds: float, reference: float) -> float:
    """|Δ| / reference, at most 1."""
    return min(1.0, abs(seconds - reference) / reference)


def coverage_loss(explained: int, concepts: int) -> float:
    """Share of the key concepts that are not explained."""
    return 1 - explained / concepts


def structure_loss(
    kinds: Sequence[str], lengths: Sequence[float], ref_kinds: Sequence[str], ref_lengths: Sequence[float]
) -> float:
    """Mean of Levenshtein(kinds) / longer length, and the total variation distance of the shares of length by kind."""
    if not kinds:
        return 1.0
    sequence = Levenshtein.distance(kinds, ref_kinds) / max(len(kinds), len(ref_kinds))
    p, q = shares(kinds, lengths), shares(ref_kinds, ref_lengths)
    return (sequence + sum(abs(p.get(k, 0.0) - q.get(k, 0.0)) for k in sorted(p.keys() | q.keys())) / 2) / 2


def shares(kinds: Sequence[str], lengths: Sequence[float]) -> dict[str, float]:
    """Return the share of the whole length by kind."""
    total: dict[str, float] = {}
    for kind, length in zip(kinds, lengths, strict=True):
        total[kind] = total.get(kind, 0.0) + length
    whole = sum(total.values()) or 1
    return {kind: value / whole for kind, value in total.items()}


def quality_loss(engagement: float, clarity: float, accuracy: float) -> float:
    """1 - their mean / 100."""
    return 1 - (engagement + clarity + accuracy) / 300


def rouge(text: str, reference: str) -> dict[str, float]:
    """Return F1 of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), to the digit those of rouge-score with its stemmer.

    Other letters than a to z count too, and their words stay as they are: the stemmer (Porter 1980) knows English.
    """
    ours, theirs = _stems(text), _stems(reference)
    common = LCSseq.similarity(ours, theirs)
    return {
        "rouge1": _overlap(Counter(ours), Counter(theirs)),
        "rouge2": _overlap(Counter(pairwise(ours)), Counter(pairwise(theirs))),
        "rougeL": 2 * common / (len(ours) + len(theirs)) if common else 0.0,
    }


def rouge_loss(r1: float, r2: float, rl: float) -> float:
    """1 - the mean F1."""
    return 1 - (r1 + r2 + rl) / 3


def total_loss(losses: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the weighted sum."""
    return sum(weight * losses[name] for name, weight in weights.items())


def improvement(totals: Sequence[float], window: int) -> float | None:
    """Return the relative gain of the mean of the last `window` totals over that of the `window` before them.

    There may be fewer before them, but at least one: None up to `window` totals.
    """
    if len(totals) <= window:
        return None
    new, old = totals[-window:], totals[-2 * window : -window]
    after, before = sum(new) / len(new), sum(old) / len(old)
    return 0.0 if before == 0 else (before - after) / before


def converged(totals: Sequence[float], window: int, least: float) -> bool:
    """Tell whether trials are to stop: nothing is lost any more, or the gain is below `least`."""
    gain = improvement(totals, window)
    return totals[-1] == 0 or (gain is not None and gain < least)


def _overlap(ours: Counter[T], theirs: Counter[T]) -> float:
    common = sum(min(count, theirs[key]) for key, count in ours.items())
    return 2 * common / (sum(ours.values()) + sum(theirs.values())) if common else 0.0


def _stems(text: str) -> list[str]:
    return [_stem(word) if len(word) > 3 and word.isascii() else word for word in compared(text)]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    from nltk.stem.porter import PorterStemmer

    return str(PorterStemmer().stem(word))
