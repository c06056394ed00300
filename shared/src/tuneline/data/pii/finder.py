"""Personal data in transcripts: found by Microsoft Presidio and patterns of our own, and replaced by placeholders.

It needs no model and asks no server: what has a form (addresses of e-mail, numbers with check digits, keys) is found in
any language, what is only a word (a name) is not, unless an installed spaCy model is named. A placeholder such as
`[EMAIL_1]` stands for the same value all over a transcript; which value that was is kept nowhere.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tuneline.data.judged import Exchange, Transcript
from tuneline.data.pii.patterns import PATTERNS
from tuneline.errors import UserError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

Region = Literal["us", "uk", "ca", "au", "in", "sg", "za", "de", "fr", "es", "it", "pl", "fi", "se", "kr", "th", "tr"]

REGIONS: tuple[Region, ...] = ("us", "uk", "de", "fr", "es", "it")
"""Those that are looked for by default: every further one takes more ordinary numbers for those of people."""

RECOGNIZERS: Mapping[str, tuple[str, ...]] = {
    "": ("CreditCard", "Crypto", "Iban", "Ip", "MacAddress"),
    "us": ("UsSsn", "UsItin", "UsPassport", "UsLicense", "UsBank"),
    "uk": ("Nhs", "UkNino", "UkDrivingLicence", "UkPassport"),
    "ca": ("CaSin",),
    "au": ("AuTfn", "AuMedicare"),
    "in": ("InAadhaar", "InPassport"),
    "sg": ("SgFin",),
    "za": ("ZaIdNumber",),
    "de": ("DeTaxId", "DePassport", "DeIdCard", "DeSocialSecurity", "DeHealthInsurance"),
    "es": ("EsNif", "EsNie", "EsPassport"),
    "it": ("ItFiscalCode", "ItDriverLicense", "ItPassport", "ItIdentityCard"),
    "pl": ("PlPesel",),
    "fi": ("FiPersonalIdentityCode",),
    "se": ("SePersonnummer",),
    "kr": ("KrRrn", "KrPassport"),
    "th": ("ThTnin",),
    "tr": ("TrNationalId",),
}
"""Presidio's recognisers by region; those under "" belong to none."""

KINDS = {
    **{kind: kind for kind in (*PATTERNS, "CREDIT_CARD", "CRYPTO", "IP_ADDRESS", "MAC_ADDRESS", "NAME", "PHONE")},
    "IBAN_CODE": "IBAN",
    "US_BANK_NUMBER": "BANK_ACCOUNT",
}
"""Our name for what Presidio finds; all others are identity papers."""

LEAST_SCORE = 0.4
"""Presidio's weak patterns (any nine digits) reach it only beside a word such as `passport`."""
PIECE, OVERLAP = 8_000, 800
"""Characters that are looked at together, so that no expression meets a text of megabytes."""

PLACEHOLDER = re.compile(r"\[([A-Z_]{2,20})_(\d{1,6})\]")
_IN_AN_ID = ("EMAIL", "SECRET")
"""Kinds that an id is searched for: others would take ordinary numbers for those of people."""
_PRIVATE_KEY = re.compile(
    "-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,50000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
_REST_OF_WORD = re.compile(rf"\S{{0,{PIECE}}}")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


class Match(NamedTuple):
    """Personal data: characters `start` to `end` of a text."""

    start: int
    end: int
    kind: str


class Redacted(NamedTuple):
    """A transcript without its personal data, and how often each kind was found in it."""

    transcript: Transcript
    counts: Counter[str]


class PiiFinder:
    """Finds personal data. Raises UserError if Presidio, or the named model, is not installed."""

    def __init__(self, regions: Iterable[Region] = REGIONS, model: str | None = None) -> None:
        self._engine = _engine(tuple(sorted(set(regions))), model)

    def find(self, text: str) -> list[Match]:
        """Return what is found, in order and without overlaps."""
        plain, places = _plain(text)
        spans = [(1.0, Match(*key.span(), "SECRET")) for key in _PRIVATE_KEY.finditer(plain)]
        for start, piece in _pieces(plain):
            for result in self._engine.analyze(piece, "en", score_threshold=LEAST_SCORE):
                kind = KINDS.get(result.entity_type, "NATIONAL_ID")
                spans.append((result.score, Match(start + result.start, start + result.end, kind)))
        taken = [Match(*found.span(), "") for found in PLACEHOLDER.finditer(plain)]
        merged = _merged(spans, taken)
        return merged if places is None else [Match(places[f.start], places[f.end - 1] + 1, f.kind) for f in merged]


def redact(transcript: Transcript, finder: PiiFinder) -> Redacted:
    """Replace what is found in all that a transcript says, and in what it is called."""
    numbers, counts = _Numbers(transcript), Counter[str]()

    def clean(text: str) -> str:
        parts, end = [], 0
        for found in finder.find(text):
            counts[found.kind] += 1
            parts += [text[end : found.start], numbers.placeholder(found.kind, text[found.start : found.end])]
            end = found.end
        return "".join([*parts, text[end:]])

    exchanges = tuple(Exchange(clean(user), clean(answer)) for user, answer in transcript.exchanges)
    system = transcript.system and clean(transcript.system)
    greeting = transcript.greeting and clean(transcript.greeting)
    persona = transcript.persona and clean(transcript.persona)
    name = redact_id(transcript.id, finder, counts)
    changed = replace(transcript, id=name, exchanges=exchanges, system=system, persona=persona, greeting=greeting)
    return Redacted(changed if counts else transcript, counts)


def redact_id(name: str, finder: PiiFinder, counts: Counter[str] | None = None) -> str:
    """Return an id, or a hash in its place if it holds an address of e-mail or a secret, which are then counted."""
    inside = [found.kind for found in finder.find(name) if found.kind in _IN_AN_ID]
    if counts is not None:
        counts.update(inside)
    return f"id-{hashlib.sha256(name.encode()).hexdigest()[:16]}" if inside else name


class _Numbers:
    """Gives each value of a kind its number, in the order of a transcript; what is written there already stays free."""

    def __init__(self, transcript: Transcript) -> None:
        texts = (
            transcript.system or "",
            transcript.greeting or "",
            *(text for exchange in transcript.exchanges for text in exchange),
        )
        self._taken = {found[0] for text in texts for found in PLACEHOLDER.finditer(text)}
        self._given: dict[tuple[str, str], str] = {}

    def placeholder(self, kind: str, value: str) -> str:
        key = kind, value if kind == "SECRET" else re.sub(r"[\W_]", "", value).casefold()
        if key not in self._given:
            number = 1
            while f"[{kind}_{number}]" in self._taken:
                number += 1
            self._given[key] = f"[{kind}_{number}]"
            self._taken.add(self._given[key])
        return self._given[key]


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield overlapping pieces and where they begin; none ends inside a word, unless it is longer than a piece."""
    start = end = 0
    while end < len(text):
        start = max(end - OVERLAP, 0)
        rest = _REST_OF_WORD.match(text, start + PIECE)
        end = rest.end() if rest else len(text)
        yield start, text[start:end]


def _plain(text: str) -> tuple[str, list[int] | None]:
    """Return the text with full-width characters as plain ones and without unseen ones, and where each stood."""
    if text.isascii():
        return text, None
    places = [place for place, character in enumerate(text) if not _UNSEEN.match(character)]
    forms = (unicodedata.normalize("NFKC", text[place]) for place in places)
    return "".join(f if len(f) == 1 else text[p] for f, p in zip(forms, places, strict=True)), places


def _merged(spans: list[tuple[float, Match]], taken: list[Match]) -> list[Match]:
    """Join what overlaps under the surest kind; placeholders, which are none, stay."""
    merged: list[tuple[float, Match]] = []
    for score, found in sorted(spans, key=lambda s: (s[1].start, -s[1].end, s[1].kind)):
        if any(found.start < t.end and t.start < found.end for t in taken):
            continue
        if merged and found.start < merged[-1][1].end:
            before, last = merged[-1]
            sure = last if (before, last.end - last.start) >= (score, found.end - found.start) else found
            merged[-1] = max(before, score), Match(last.start, max(last.end, found.end), sure.kind)
        else:
            merged.append((score, found))
    return [found for _, found in merged]


def _engine(regions: tuple[Region, ...], model: str | None) -> AnalyzerEngine:
    try:
        from tuneline.data.pii.engine import analyzer
    except ImportError:
        text = "`pii` needs Microsoft Presidio, which is not installed: pip install 'tuneline[pii]'"
        raise UserError(text) from None
    names = [name for region in ("", *regions) for name in RECOGNIZERS.get(region, ())]
    return analyzer(names, [region.upper().replace("UK", "GB") for region in regions], model)
