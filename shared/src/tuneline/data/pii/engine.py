"""Presidio without a language model and without a network; imported only when personal data is looked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import phonenumbers
import presidio_analyzer.predefined_recognizers as predefined
import regex
import spacy
from presidio_analyzer import (
    AnalyzerEngine,
    EntityRecognizer,
    LocalRecognizer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from spacy.language import Language
from spacy.tokens import Doc

from tuneline.data.pii.patterns import CASE_SENSITIVE, PATTERNS
from tuneline.errors import UserError

LANGUAGE = "en"
"""Presidio asks for one language; ours is any, because every recogniser looks at every text."""
SCORES = {"SECRET": 0.9, "EMAIL": 0.8}
OTHERS = 0.7
"""Scores of what we find: where two overlap, the surer one says what it is."""
NAMES = ("PERSON", "PER", "PERS", "PRS", "persName")
"""How spaCy's models label people."""
_NUMBER = regex.compile(r"(?<![\w.,/-])(?:\+|00)?[\d(](?:[ ().\-/\u00a0\u2010-\u2013]{0,3}\d){6,15}(?![\w]|[.,/-]\d)")
_ABOUT_PHONES = regex.compile(
    r"\b(?:(?:tele)?phone|tel|mobile|cell|call|text|sms|whatsapp|signal|fax|ring|reach|my number"
    r"|handy|anruf|telefon|meine nummer|teléfono|móvil|llam|tél|portable|appel|telefono|cellulare|chiam)",
    regex.IGNORECASE,
)
_BEFORE = 50
"""Characters before a number in which a word about telephones says that it is one."""
_WORD = regex.compile(r"\w+|[^\w\s]+")
_NO_PHONE = regex.compile(r"(?:\d{1,3}\.){3}\d{1,3}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


def analyzer(names: Iterable[str], phone_regions: Sequence[str], model: str | None) -> AnalyzerEngine:
    """Return an engine with Presidio's recognisers of these names (without `Recognizer`) and our own.

    Raises UserError if the spaCy model is not installed.
    """
    recognizers: list[EntityRecognizer] = [
        getattr(predefined, f"{name}Recognizer")(supported_language=LANGUAGE) for name in names
    ]
    for kind, expressions in PATTERNS.items():
        flags = regex.DOTALL | regex.MULTILINE | (0 if kind in CASE_SENSITIVE else regex.IGNORECASE)
        patterns = [
            Pattern(f"{kind} {n}", expression, SCORES.get(kind, OTHERS)) for n, expression in enumerate(expressions)
        ]
        recognizers.append(PatternRecognizer(kind, name=kind, patterns=patterns, global_regex_flags=flags))
    recognizers.append(_Phones(phone_regions))
    if model:
        recognizers.append(_Names())
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE])
    _refuse_skipped()
    return AnalyzerEngine(registry, _Words(_pipeline(model)), supported_languages=[LANGUAGE])


def _pipeline(model: str | None) -> Language | None:
    if model is None:
        return None
    try:
        return spacy.load(model)
    except (OSError, ValueError):
        raise UserError(
            f"`pii_model`: spaCy has no model {model!r} here. Install it, or leave `pii_model` out."
        ) from None


class _Words(NlpEngine):
    """Cuts text into words, which Presidio needs to see what a number stands beside; with a model, finds names too."""

    def __init__(self, pipeline: Language | None) -> None:
        self._pipeline = pipeline
        self.engine_name = "words"

    def load(self) -> None: ...

    def is_loaded(self) -> bool:
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        found = list(_WORD.finditer(text))  # spaCy's own tokenizer takes for ever over a line of brackets
        words, places = [word[0].lower() for word in found], [word.start() for word in found]
        names = list(self._pipeline(text).ents) if self._pipeline else []
        return NlpArtifacts(names, cast(Doc, words), places, words, self, language)  # of a Doc only lengths are used

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **_: object
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        return False

    def is_punct(self, word: str, language: str) -> bool:
        return not any(character.isalnum() for character in word)

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return [LANGUAGE]


class _Own(LocalRecognizer):
    """A recogniser that is more than an expression."""

    kind = ""

    def __init__(self) -> None:
        super().__init__(supported_entities=[self.kind], supported_language=LANGUAGE, name=self.kind)

    def load(self) -> None: ...

    def _result(self, start: int, end: int) -> RecognizerResult:
        about = {RecognizerResult.RECOGNIZER_NAME_KEY: self.kind, RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id}
        return RecognizerResult(self.kind, start, end, OTHERS, recognition_metadata=about)


class _Phones(_Own):
    """Telephone numbers that the numbering plan of a region has; only what looks like a number is looked up."""

    kind = "PHONE"

    def __init__(self, regions: Sequence[str]) -> None:
        super().__init__()
        self._regions = regions

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        likely = (
            found
            for found in _NUMBER.finditer(text)
            if self._may_be_one(found[0], text[max(0, found.start() - _BEFORE) : found.start()])
        )
        return [self._result(*found.span()) for found in likely if self._is_phone(found[0])]

    def _may_be_one(self, number: str, before: str) -> bool:
        """Tell numbers written as telephone numbers are from those of orders and invoices."""
        if _NO_PHONE.fullmatch(number):
            return False
        written = number.startswith(("+", "0", "(")) or len(regex.findall(r"\D+", number)) > 1
        return written or _ABOUT_PHONES.search(before) is not None

    def _is_phone(self, number: str) -> bool:
        regions = ["ZZ"] if number.startswith("+") else self._regions
        if number.startswith("00"):
            number, regions = f"+{number[2:]}", ["ZZ"]
        for region in regions:
            try:
                if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                    return True
            except phonenumbers.NumberParseException:
                continue
        return False


class _Names(_Own):
    """People, as the model labels them."""

    kind = "NAME"

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        return [
            self._result(entity.start_char, entity.end_char)
            for entity in nlp_artifacts.entities
            if entity.label_ in NAMES
        ]


class _Skipped(logging.Handler):
    """Presidio only warns when an expression takes too long, and finds nothing then: for us that is an error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and "timed out" in record.getMessage():
            raise UserError("Looking for personal data took too long in one message. Leave that transcript out.")


def _refuse_skipped() -> None:
    logger = logging.getLogger("presidio-analyzer")
    logger.setLevel(logging.WARNING)  # below that it quotes what it reads
    logger.propagate = False
    if not any(isinstance(handler, _Skipped) for handler in logger.handlers):
        logger.addHandler(_Skipped())
