"""Rows that say what another row says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tuneline.data.text.likeness import firsts, normal, shingles_of

SIMILARITY = 0.8
"""Jaccard index of word sequences from which two rows are near-duplicates."""
SHINGLE_WORDS = 3
"""Words in a row that are compared as one: instructions are short."""

Twin = Literal["duplicate", "near_duplicate"]


def twins(texts: Sequence[str]) -> list[Twin | None]:
    """Return what each row is of an earlier one that stays; the first of several that are alike does."""
    plain = [normal(text) for text in texts]
    numbers: dict[str, int] = {}
    for text in plain:
        numbers.setdefault(text, len(numbers))
    stays = firsts([shingles_of(text, SHINGLE_WORDS) for text in numbers], SIMILARITY)
    seen: set[str] = set()
    found: list[Twin | None] = []
    for text in plain:
        found.append("duplicate" if text in seen else None if stays[numbers[text]] else "near_duplicate")
        seen.add(text)
    return found
