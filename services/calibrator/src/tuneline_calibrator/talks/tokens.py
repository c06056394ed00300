"""Words of any script: what ROUGE compares, and what copies are found by."""

from __future__ import annotations

import unicodedata
from functools import cache

from tuneline.data.text.words import is_unspaced


def tokens(text: str) -> list[str]:
    """Return the runs of letters and digits of a text without case, as rouge-score does it for English.

    rouge-score keeps the letters a to z only, so that two Russian texts have nothing in common. Here the letters of all
    scripts count, with their marks.
    """
    return "".join(map(_told_apart, unicodedata.normalize("NFKC", text).casefold())).split()


@cache
def _told_apart(letter: str) -> str:
    if is_unspaced(letter):
        return f" {letter}"
    category = unicodedata.category(letter)
    # What cannot be seen (a soft hyphen, a joiner) parts no word: copies would hide behind it.
    return letter if category[0] in "LNM" else "" if category == "Cf" else " "
