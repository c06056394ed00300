"""What language a text is in: at once by its script where that says enough, else by py3langid, or not at all.

A wrong guess would accuse a good answer, so short texts are not judged, code, addresses and numbers are left out, and
languages that a model takes for each other count as one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache, cached_property

from tuneline.errors import UserError

CONFIDENCE = 0.95
"""Probability below which a guess is none; py3langid's are calibrated, short texts get low ones."""

LETTERS = 40
"""Letters below which a text in a script of many languages is not judged: a name or a greeting fits several."""

OTHER_SCRIPT = 0.2
"""Share of letters in a script that the user does not write, from which on an answer is in another language."""

MOST_CHARACTERS = 20_000
"""Looked at from the beginning of a text."""

GUESSED = 1_500
"""Characters that are enough for the best guess."""

CODES = frozenset({
    "af", "am", "an", "ar", "as", "az", "be", "bg", "bn", "br", "bs", "ca", "cs", "cy", "da", "de", "dz", "el",
    "en", "eo", "es", "et", "eu", "fa", "fi", "fo", "fr", "ga", "gl", "gu", "ha", "he", "hi", "hr", "ht", "hu",
    "hy", "id", "ig", "is", "it", "ja", "jv", "ka", "kk", "km", "kn", "ko", "ku", "ky", "la", "lb", "lg", "ln",
    "lo", "lt", "lv", "mg", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn", "no", "oc", "or", "pa",
    "pl", "ps", "pt", "qu", "ro", "ru", "rw", "se", "si", "sk", "sl", "sn", "so", "sq", "sr", "st", "sv", "sw",
    "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "vi", "vo", "wa", "xh", "yo", "zh",
    "zu",
})  # fmt: skip
"""Languages that can be asked for, by ISO 639-1 code."""

_ALIKE = [
    "no nb nn da", "hr bs sr sl mk bg", "id ms jv", "cs sk", "pt gl", "es ca gl oc an ext", "nl af fy", "de lb",
    "fa ps ur", "hi mr ne sa gom", "zh yue wuu", "ar ary arz", "tr az crh tk", "ru be uk", "xh zu", "fi et",
    "it vec lij", "fr oc wa", "en pcm",
]  # fmt: skip
_SAME: dict[str, frozenset[str]] = {}
for _group in _ALIKE:
    for _code in _group.split():
        _SAME[_code] = _SAME.get(_code, frozenset()) | frozenset(_group.split())

_SCRIPTS = {
    "Latin": r"\xc0-\xd6\xd8-\xf6\xf8-\u024f\u1e00-\u1eff", "Han": r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "Kana": r"\u3041-\u30ff\u31f0-\u31ff", "Hangul": r"\uac00-\ud7af\u1100-\u11ff", "Cyrillic": r"\u0400-\u052f",
    "Arabic": r"\u0620-\u06ff\u0750-\u077f", "Hebrew": r"\u05d0-\u05ea", "Greek": r"\u0370-\u03ff\u1f00-\u1fff",
    "Thai": r"\u0e01-\u0e5b", "Devanagari": r"\u0900-\u097f", "Bengali": r"\u0980-\u09ff", "Gurmukhi": r"\u0a00-\u0a7f",
    "Gujarati": r"\u0a80-\u0aff", "Oriya": r"\u0b00-\u0b7f", "Tamil": r"\u0b80-\u0bff", "Telugu": r"\u0c00-\u0c7f",
    "Kannada": r"\u0c80-\u0cff", "Malayalam": r"\u0d00-\u0d7f", "Sinhala": r"\u0d80-\u0dff", "Lao": r"\u0e80-\u0eff",
    "Tibetan": r"\u0f00-\u0fff", "Myanmar": r"\u1000-\u109f", "Georgian": r"\u10a0-\u10ff",
    "Ethiopic": r"\u1200-\u137f", "Khmer": r"\u1780-\u17ff", "Armenian": r"\u0530-\u058f",
}  # fmt: skip
_ASCII = re.compile("[\\x00-\\x7f]++")
_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_LETTERS = re.compile("|".join(f"(?P<{name}>[{letters}]++)" for name, letters in _SCRIPTS.items()))
_NAMED = {"Han": "zh", "Hangul": "ko", "Greek": "el", "Thai": "th", "Hebrew": "he", "Georgian": "ka", "Armenian": "hy"}
_WRITTEN = {
    "zh": {"Han"}, "ja": {"Han", "Kana"}, "ko": {"Hangul", "Han"}, "el": {"Greek"}, "th": {"Thai"}, "he": {"Hebrew"},
    "ka": {"Georgian"}, "hy": {"Armenian"}, "am": {"Ethiopic"}, "km": {"Khmer"}, "lo": {"Lao"}, "my": {"Myanmar"},
    "si": {"Sinhala"}, "or": {"Oriya"}, "dz": {"Tibetan"}, "bn": {"Bengali"}, "as": {"Bengali"}, "ta": {"Tamil"},
    "te": {"Telugu"}, "gu": {"Gujarati"}, "pa": {"Gurmukhi", "Arabic"}, "kn": {"Kannada"}, "ml": {"Malayalam"},
    "ku": {"Arabic", "Latin"},
    **{code: {"Cyrillic"} for code in ("ru", "uk", "be", "bg", "mk", "ky", "mn", "tg", "tt")},
    **{code: {"Cyrillic", "Latin"} for code in ("kk", "uz", "az", "tk", "sr", "bs")},
    **{code: {"Arabic"} for code in ("ar", "fa", "ur", "ps", "ug")},
    **{code: {"Devanagari"} for code in ("hi", "mr", "ne")},
}  # fmt: skip
"""Scripts of the languages that are not written in Latin letters, or not only."""

_NO_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{1,200}`|https?://\S++|(?<!\S)[^\s@]{1,64}@\S++|<[^<>\n]{1,200}>", re.DOTALL
)


class Prose:
    """The letters of a text, without what is not language: code, addresses, tags."""

    def __init__(self, text: str) -> None:
        self._text = _NO_PROSE.sub(" ", text[:MOST_CHARACTERS])
        self.scripts = Counter(Latin=len(self._text.encode("ascii", "ignore").translate(None, _NO_LETTERS)))
        for run in _LETTERS.finditer("" if self._text.isascii() else _ASCII.sub(" ", self._text)):
            self.scripts[str(run.lastgroup)] += len(run[0])

    @cached_property
    def language(self) -> str | None:
        """ISO 639 code, or None where it is too short or not clear."""
        letters = self.scripts.total()
        [(script, count)] = self.scripts.most_common(1) or [("", 0)]
        if self.scripts["Kana"] > 0.1 * letters:
            return "ja"
        if script in _NAMED and count > 0.5 * letters:
            return _NAMED[script]
        if letters < LETTERS:
            return None
        code, confidence = _identify()(self._text[:GUESSED])
        return code if confidence >= CONFIDENCE and code != "zxx" else None

    def share_of_other_scripts(self, known: set[str]) -> float:
        """Return the share of letters in other scripts than these."""
        foreign = sum(count for script, count in self.scripts.items() if script not in known)
        return foreign / self.scripts.total() if foreign > 1 else 0.0


def is_in_another_language(answer: Prose, message: Prose, said: Prose) -> bool:
    """Return whether an answer is neither in the language of its message nor in that of all the user said.

    False where that cannot be told.
    """
    scripts = {script for script, count in said.scripts.items() if count > 1}
    if not scripts:
        return False
    if _is_foreign(answer, scripts | _WRITTEN.get(said.language or "", set())):
        return True
    if answer.language is None or said.language is None or _are_alike(answer.language, said.language):
        return False
    return message.language is None or not _are_alike(answer.language, message.language)


def is_in(answer: Prose, code: str) -> bool:
    """Return whether an answer is in the language with this code; True where that cannot be told."""
    if _is_foreign(answer, _WRITTEN.get(code, {"Latin"})):
        return False
    found = answer.language
    return found is None or _are_alike(found, code)


def _is_foreign(answer: Prose, known: set[str]) -> bool:
    """Return whether too much of an answer is in other scripts; names and terms in Latin letters stand everywhere."""
    if answer.share_of_other_scripts(known | {"Latin"}) >= OTHER_SCRIPT:
        return True
    return answer.share_of_other_scripts(known) > 1 - OTHER_SCRIPT and answer.scripts.total() >= LETTERS


def _are_alike(code: str, other: str) -> bool:
    return code == other or other in _SAME.get(code, ())


def can_tell() -> bool:
    """Tell whether languages can be told here."""
    try:
        _identify()
    except UserError:
        return False
    return True


@cache
def _identify() -> Callable[[str], tuple[str, float]]:
    """Load the model, once: half a second. Raises UserError where it is not installed."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise UserError(
            "A language is checked by py3langid, which is not installed here: pip install py3langid"
        ) from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier.classify  # type: ignore[no-any-return]
