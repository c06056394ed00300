"""Which transcripts are held out for validation: whole transcripts, and near-duplicates never on both sides."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuneline.data.slices import Split
from tuneline.data.transcripts import Transcript
from tuneline.errors import UserError

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 128
"""Hashes per signature: the similarity is estimated with a standard error of about 0.04 near 0.8."""
SHINGLE_WORDS = 5
"""Words in a row that are compared as one: long enough that a common phrase does not make two texts alike."""


def signature_of(transcript: Transcript) -> MinHash:
    """Return the MinHash signature of a transcript's word sequences, whatever their case, punctuation and spelling.

    Spelling: `é` may be one character or two, and `ｆｕｌｌ` may be wide; both look the same and are (NFKC).
    """
    from datasketch import MinHash

    text = " ".join(text for exchange in transcript.exchanges for text in exchange)
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    starts = range(max(1, len(words) - SHINGLE_WORDS + 1))
    signature = MinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update_batch({" ".join(words[at : at + SHINGLE_WORDS]).encode() for at in starts})
    return signature


def near_duplicates(signatures: Mapping[str, MinHash], similarity: float) -> list[list[str]]:
    """Group the ids of transcripts that are near-duplicates, directly or through others; most groups have one member.

    Similarity is the Jaccard index of the word sequences, estimated with MinHash (Broder 1997). Candidates come from
    locality-sensitive hashing tuned to miss few, and are then compared.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
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


def split_groups(groups: Sequence[Sequence[str]], fraction: float) -> dict[str, Split]:
    """Hold out `fraction` of the transcripts, by whole groups, in an order that only the ids decide.

    Raises UserError when nothing can be held out.
    """
    count = sum(map(len, groups))
    wanted = int(fraction * count + 1e-9)
    if fraction and not wanted:
        raise UserError(
            f"`validation_fraction`={fraction} of {count} transcripts is empty. "
            f"Use at least {math.ceil(1000 / count) / 1000:.3f}, or more data, or 0 for no validation."
        )
    held: set[str] = set()
    for group in sorted(groups, key=lambda group: hashlib.sha256(f"validation {group[0]}".encode()).digest()):
        if len(held) + len(group) <= wanted:
            held.update(group)
    if wanted and not held:
        raise UserError(
            f"`validation_fraction`={fraction} of {count} transcripts is empty: near-duplicates stay together, and the "
            f"smallest group has {min(map(len, groups))}. Use more data, a higher fraction, or 0 for no validation."
        )
    return {name: "validation" if name in held else "train" for group in groups for name in group}


def _first(leader: Mapping[str, str], name: str) -> str:
    while leader[name] != name:
        name = leader[name]
    return name
