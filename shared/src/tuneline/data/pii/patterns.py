r"""What personal data and secrets look like, where Microsoft Presidio has no recogniser or one that asks the network.

Expressions are those of the package `regex`: what stands before `\K` must be there and is kept, the rest is replaced.
Placeholders (`[EMAIL_1]`) are never replaced, whatever matches them, so that redacting twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

_MONTH = (
    r"(?:jan|feb|mar|mär|apr|ma[iy]|jun|jul|aug|sep|oct|okt|nov|dec|dez|ene|abr|ago|dic|janv|févr|avr|août|déc|gen|mag"
    r"|giu|lug|set|ott|enero|febrero|marzo|abril|mayo|junio|julio|agosto|mars|avril|juin|juillet)\w{0,8}\.?"
)
_DATE = (
    rf"(?:\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{4}}[./-]\d{{1,2}}[./-]\d{{1,2}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)?\s(?:of\s|de\s)?{_MONTH},?\s(?:de\s)?\d{{4}}|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}})"
)
_BORN = (
    r"(?:\bborn|\bbirth(?:day|date)?|\bdate of birth|\bd\.?o\.?b\.?|\bgeboren|\bgeb\.|\bgeburts(?:tag|datum)"
    r"|\bnacid[oa]|\bnací|\bfecha de nacimiento|\bné(?:e|\(e\))?|\bdate de naissance|\bnat[oa]|\bdata di nascita)"
)
_STREET = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|way|place|pl|square|sq|terrace|crescent"
    r"|close|gardens|parkway|pkwy|highway|hwy|circle|cir)"
)
_IS = r"\s{1,3}(?:is|was|ist|lautet|es|est|è)\s{1,3}[\"'`]?"
_SAYS = rf"(?:{_IS}|\s{{0,3}}(?:[:=]|=>|->)\s{{0,3}}[\"'`]?)"
_PASSWORD = r"\b(?:password|passwd|passphrase|passwort|kennwort|contraseña|mot de passe|senha|pwd)"

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "EMAIL": (
        r"(?<![\w.+%-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.){1,8}\p{L}[\w-]{1,62}",
        r"(?<![\w.+%-])[\w.+%-]{1,64}\s{0,2}[\[({<]\s?(?:at|ät|arroba|chez)\s?[\])}>]\s{0,2}[\w-]{1,63}"
        r"(?:\s{0,2}(?:\.|[\[({<]\s?(?:dot|punkt|punto|point)\s?[\])}>])\s{0,2}[\w-]{1,63}){1,5}",
    ),
    "SECRET": (
        r"\beyJ[\w-]{8,2000}\.[\w-]{8,4000}\.[\w-]{0,2000}",
        r"\b(?:sk|pk|rk)[-_](?:ant-|proj-|or-|live_|test_)?[A-Za-z0-9_-]{16,250}",
        r"\b(?:ghp|gho|ghu|ghs|ghr)_\w{20,250}|\bgithub_pat_\w{20,250}|\bglpat-[\w-]{16,100}",
        r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,60}|\bya29\.[\w-]{20,400}",
        r"\bxox[abeoprs]-[\w-]{10,250}|\bhf_\w{20,100}|\bnpm_\w{20,100}|\bSG\.[\w-]{16,40}\.[\w-]{16,80}",
        r"\b(?:whsec|dop_v1|shpat|shpss|sq0atp|sq0csp|pypi|rnd|gsk|xai)[-_]\w{16,250}",
        r"\bBearer\s\K[\w.~+/=-]{16,4000}|\bAccountKey=\K[\w+/=]{20,200}",
        rf"{_PASSWORD}{_IS}\K(?=\S*[\d!#$%&*@^~])[^\s\"'`,;]{{4,200}}",  # not: my password is wrong
        rf"{_PASSWORD}\s{{0,3}}(?:[:=]|=>|->)\s{{0,3}}[\"'`]?\K[^\s\"'`,;]{{4,200}}",
        rf"\b(?:api[ _-]?key|secret[ _-]?key|secret|(?:access|auth|api)[ _-]?token|client[ _-]?secret){_SAYS}"
        r"\K(?=\S*\d)[^\s\"'`,;]{8,500}",
        rf"\b(?:pin|cvv|cvc|security code|one[- ]time (?:code|password)|verification code){_SAYS}\K\d{{3,8}}\b",
        r"\b[a-z][a-z0-9+.-]{1,20}://\K[^\s/@:\[\]]{1,200}:[^\s/@]{1,200}(?=@)",  # a URL with credentials
    ),
    "DATE_OF_BIRTH": (rf"{_BORN}\W{{0,4}}(?:\w{{1,6}}\W{{1,3}}){{0,3}}?\K\b{_DATE}",),
    "ADDRESS": (
        rf"\b\d{{1,6}}[a-z]?\s(?:[A-ZÀ-Þ][\w'’-]{{1,30}}\s){{1,4}}(?i:{_STREET})\b\.?"
        rf"(?:,?\s(?:Apt|Apartment|Unit|Suite|Flat|No)\.?\s?#?\w{{1,6}})?"
        rf"(?:,?\s[A-ZÀ-Þ][\w'’-]{{1,30}}(?:\s[A-ZÀ-Þ][\w'’-]{{1,30}}){{0,2}},?\s[A-Z]{{2}}\s\d{{5}}(?:-\d{{4}})?)?",
        r"\b[A-ZÄÖÜ][\wäöüß-]{1,40}(?:straße|strasse|str\.|weg|gasse|platz|allee|damm|ufer)\s\d{1,4}\s?[a-z]?\b"
        r"(?:,?\s(?:D-)?\d{5}\s[A-ZÄÖÜ][\wäöüß-]{1,40})?",
        r"\b(?:[A-ZÄÖÜ][\wäöüß-]{1,30}\s)(?:Straße|Strasse|Str\.|Weg|Gasse|Platz|Allee)\s\d{1,4}\s?[a-z]?\b",
        r"\b\d{1,4}(?:\s?(?:bis|ter))?,?\s(?i:rue|avenue|boulevard|place|chemin|impasse|allée|quai)\s"
        r"(?:(?:de|du|des|la|le|les|l’|l'|d’|d')\s?){0,3}[A-ZÀ-Þ][\w'’-]{1,30}(?:\s[A-ZÀ-Þ][\w'’-]{1,30}){0,3}"
        r"(?:,?\s\d{5}\s[A-ZÀ-Þ][\w'’-]{1,30})?",
        r"\b(?i:calle|avenida|avda\.|plaza|paseo|camino|via|viale|piazza|corso)\s"
        r"(?:(?:de|del|la|las|los|della|dei|di)\s){0,3}[A-ZÀ-Þ][\w'’-]{1,30}(?:\s[A-ZÀ-Þ][\w'’-]{1,30}){0,3},?\s"
        r"(?:n[º°]\s?)?\d{1,4}\b(?:,?\s\d{5}\s[A-ZÀ-Þ][\w'’-]{1,30})?",
        r"(?i:\bP\.?\s?O\.?\s?Box|\bPostfach|\bApartado)\s\d{1,8}\b",
    ),
    "POSTCODE": (
        r"\b(?:GIR\s?0AA|[A-PR-UWYZ][A-HK-Y]?\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2})\b",
        r"\b(?i:zip(?:\s?code)?|postcode|postal code|plz|postleitzahl|código postal|code postal|cap)\W{1,3}\K"
        r"\d{4,5}(?:-\d{4})?\b",
    ),
    "NATIONAL_ID": (  # French social security number, with its key
        r"\b[12]\s?\d{2}\s?(?:0[1-9]|1[0-2]|[2-9]\d)\s?(?:\d{2}|2[AB])\s?\d{3}\s?\d{3}\s?\d{2}\b",
    ),
}
"""Expressions by the kind that they find. Their kind is what the placeholder says."""

CASE_SENSITIVE = frozenset({"ADDRESS", "POSTCODE"})
"""Kinds whose expressions tell capitals from small letters: otherwise half of all sentences is an address."""
