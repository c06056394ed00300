"""Words of any script: what ROUGE compares, what the length of a talk is counted in, what copies are found by."""

from __future__ import annotations

import unicodedata
from functools import cache

_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
"""How the Unicode names begin of letters that are written without spaces: each is taken for a word."""


def tokens(text: str) -> list[str]:
    """Return the runs of letters and digits of a text without case, as rouge-score does it for English.

    rouge-score keeps the letters a to z only, so that two Russian texts have nothing in common. Here the letters of all
    scripts count, with their marks.
    """
    return "".join(map(_told_apart, unicodedata.normalize("NFKC", text).casefold())).split()


def word_count(text: str) -> int:
    """Return how many words are said: what stands between spaces, and each letter of a script without spaces."""
    apart = "".join(f" {letter} " if _is_unspaced(letter) else letter for letter in unicodedata.normalize("NFC", text))
    return sum(any(map(str.isalnum, word)) for word in apart.split())


@cache
def _told_apart(letter: str) -> str:
    if _is_unspaced(letter):
        return f" {letter}"
    category = unicodedata.category(letter)
    # What cannot be seen (a soft hyphen, a joiner) parts no word: copies would hide behind it.
    return letter if category[0] in "LNM" else "" if category == "Cf" else " "


@cache
def _is_unspaced(letter: str) -> bool:
    return letter.isalpha() and unicodedata.name(letter, "").startswith(_UNSPACED)
