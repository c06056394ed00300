"""The words of a text: read without case, and looked for from the beginning of a word."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable
from functools import cache

_WORD = re.compile(r"\w+(?:'\w+)*")
_COUNTED = re.compile(r"(?:[0-9]+(?:[.,:][0-9]+)+|\w+)(?:['’-]\w+)*")
_LETTERS = re.compile(r"[a-z0-9]+")
_MARK = "\x01"
"""Stands before a mark, which is of the letter before it and not of the one behind it."""
_AFTER_SPACE = re.compile(f" ((?:{_MARK}.)+)")
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")
"""How the Unicode names begin of letters that are written without spaces: each is taken for a word."""
_LETTER_LOOP = re.compile(r"([^\W\d_]{1,10}?)\1{9,}")

CONTENT_WORD_LETTERS = 5
"""Shorter words (the, and, with) say little about what a message is about."""

COMMON_WORDS = frozenset(
    _WORD.findall(
        "about after again their there these thing things think those today where which while would could should "
        "really still maybe being before because going doing having please thanks since every other something"
    )
)
"""Words of five letters and more that say little either."""

LOOP_BYTES, LOOP_SHARE = 40, 0.35
"""An answer of at least so many bytes loops when zlib leaves less than this share of it; prose leaves over a half."""

LOOP_COPIES = 4
"""The same words so many times in a row, over at least `LOOP_WORDS` words, are a model that got stuck, not emphasis."""
LOOP_WORDS = 8
LOOP_PERIOD = 20
"""Longest group of words whose repetition is looked for."""


def contains(text: str, phrases: Iterable[str]) -> bool:
    """Return whether one of the phrases stands in the text, from the beginning of a word."""
    plain = _plain(text)
    return any(_stands_in(plain, _plain(phrase)) for phrase in phrases)


def words(text: str) -> list[str]:
    """Return the words of a text, folded to lower case."""
    return _WORD.findall(_plain(text))


def word_count(text: str) -> int:
    """Return how many words a text has, by the one rule for all stages.

    A number is one (`3.5`), and what an apostrophe or a hyphen joins. Of scripts that set no spaces between words each
    letter is one.
    """
    plain = text if text.isascii() else "".join(map(_without_mark, unicodedata.normalize("NFC", apart(text))))
    return len(_COUNTED.findall(plain))


def apart(text: str) -> str:
    """Return a text with spaces around each letter of a script that sets none between words."""
    return text if text.isascii() else "".join(f" {c} " if is_unspaced(c) else c for c in text)


@cache
def is_unspaced(letter: str) -> bool:
    """Tell whether a letter is of a script that sets no spaces between words."""
    return letter.isalpha() and unicodedata.name(letter, "").startswith(_UNSPACED)


def compared(text: str) -> list[str]:
    """Return the words of a text that tell whether another says the same, by the one rule for all stages.

    Letters and digits of any script count, with their marks, without case. Spelling does not: `é` may be one character
    or two, and `ｆｕｌｌ` may be wide; both look the same and are (NFKC). Of scripts that set no spaces between words
    each letter is one.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if plain.isascii():
        return _LETTERS.findall(plain)
    return _AFTER_SPACE.sub(r"\1 ", "".join(map(_told_apart, plain))).replace(_MARK, "").split()


@cache
def _told_apart(letter: str) -> str:
    if is_unspaced(letter):
        return f" {letter} "
    category = unicodedata.category(letter)
    if category[0] == "M":
        return _MARK + letter
    # What cannot be seen (a soft hyphen, a joiner) parts no word: copies would hide behind it.
    return letter if category[0] in "LN" else "" if category == "Cf" else " "


@cache
def _without_mark(letter: str) -> str:
    """Return nothing for an accent or a vowel sign, at which `re` ends a word, and for what is not seen."""
    category = unicodedata.category(letter)
    return "" if category[0] == "M" or category == "Cf" else letter


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())


def _stands_in(text: str, phrase: str) -> bool:
    at = text.find(phrase)
    while at > 0 and text[at - 1].isalnum() and phrase[0].isalnum():
        at = text.find(phrase, at + 1)
    return at >= 0


def content_words(text: str) -> set[str]:
    """Return the words that say what a text is about."""
    return {w for w in words(text) if len(w) >= CONTENT_WORD_LETTERS and w not in COMMON_WORDS}


def triples(said: list[str]) -> set[tuple[str, ...]]:
    """Return the groups of three words in a row."""
    return {tuple(said[i : i + 3]) for i in range(max(1, len(said) - 2))}


def is_stuck(text: str) -> bool:
    """Return whether a text says the same words or letters over and over, as a model does that cannot end."""
    if _LETTER_LOOP.search(text.casefold()):
        return True
    said = words(text)
    return any(_repeats(said, period) for period in range(1, min(LOOP_PERIOD, len(said) // LOOP_COPIES) + 1))


def _repeats(said: list[str], period: int) -> bool:
    """Return whether some `period` words stand there `LOOP_COPIES` times in a row, over at least `LOOP_WORDS` words."""
    needed = max((LOOP_COPIES - 1) * period, LOOP_WORDS - period)
    run = 0
    for i in range(period, len(said)):
        run = run + 1 if said[i] == said[i - period] else 0
        if run >= needed:
            return True
    return False


def shrinks(text: str, least_bytes: int, share: float) -> bool:
    """Tell whether a text of at least so many bytes packs to less than a share of them: it says the same again."""
    data = text.encode("utf-8", "replace")
    return len(data) >= least_bytes and len(zlib.compress(data)) < share * len(data)


def loops(answer: str) -> bool:
    """Tell whether an answer, however short, repeats itself so much that it packs to about a third."""
    return shrinks(answer, LOOP_BYTES, LOOP_SHARE)
