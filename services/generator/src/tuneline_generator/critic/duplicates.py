"""Rows that say what another row says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tuneline.data.text.likeness import normal, open_index, signature_of

if TYPE_CHECKING:
    from datasketch import MinHash

SIMILARITY = 0.8
"""Jaccard index of word sequences from which two rows are near-duplicates."""
SHINGLE_WORDS = 3
"""Words in a row that are compared as one: instructions are short."""


class Seen:
    """The rows so far: the first of several that are alike stays. Give them in the order of their items."""

    def __init__(self) -> None:
        self._exact: set[str] = set()
        self._signatures: dict[int, MinHash] = {}
        self._index = open_index(SIMILARITY)

    def add(self, text: str) -> Literal["duplicate", "near_duplicate"] | None:
        """Take a row, and return what it is of an earlier one; such a row is not kept."""
        plain = normal(text)
        if plain in self._exact:
            return "duplicate"
        self._exact.add(plain)
        signature, number = signature_of(plain, SHINGLE_WORDS), len(self._signatures)
        if any(signature.jaccard(self._signatures[other]) >= SIMILARITY for other in self._index.query(signature)):
            return "near_duplicate"
        self._signatures[number] = signature
        self._index.insert(number, signature)
        return None
