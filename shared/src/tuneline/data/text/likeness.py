"""Texts that are nearly the same: the Jaccard index of their word sequences, estimated with MinHash (Broder 1997)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from tuneline.data.text.words import compared

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

PERMUTATIONS = 128
"""Hashes per signature: the similarity is estimated with a standard error of about 0.04 near 0.8."""
SHINGLE_WORDS = 5
"""Words in a row that are compared as one: long enough that a common phrase does not make two texts alike."""


def normal(text: str) -> str:
    """Return the words of a text in a row: case, punctuation and spaces do not count, and neither does spelling."""
    return " ".join(compared(text))


def signature_of(text: str, shingle_words: int = SHINGLE_WORDS) -> MinHash:
    """Return the MinHash signature of a text's word sequences, as `compared` has them."""
    words = compared(text)
    starts = range(max(1, len(words) - shingle_words + 1))
    signature = _blank().copy()
    signature.update_batch({" ".join(words[at : at + shingle_words]).encode() for at in starts})
    return signature


@cache
def _blank() -> MinHash:
    """Return a signature of nothing: to draw its permutations takes longer than to use them."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1)


def open_index(similarity: float) -> MinHashLSH:
    """Return an index that finds candidates by locality-sensitive hashing, tuned to miss few; compare them then."""
    from datasketch import MinHashLSH

    return MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, weights=(0.1, 0.9))


def near_duplicates(signatures: Mapping[str, MinHash], similarity: float) -> list[list[str]]:
    """Group the names of texts that are near-duplicates, directly or through others; most groups have one member."""
    index = open_index(similarity)
    leader = {name: name for name in signatures}
    for name, signature in signatures.items():
        for other in sorted(index.query(signature)):
            if signature.jaccard(signatures[other]) >= similarity:
                leader[_first(leader, name)] = _first(leader, other)
        index.insert(name, signature)
    groups: dict[str, list[str]] = {}
    for name in sorted(signatures):
        groups.setdefault(_first(leader, name), []).append(name)
    return sorted(groups.values())


def _first(leader: Mapping[str, str], name: str) -> str:
    while leader[name] != name:
        name = leader[name]
    return name
