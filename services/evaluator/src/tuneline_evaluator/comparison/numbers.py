"""Numbers as the report writes them: points of a hundred, true minus signs, an en dash where there is no figure."""

from __future__ import annotations

from tuneline.data.paired.effects import Range
from tuneline.stage import Json

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"


def points(share: float | None) -> str:
    """Write a score (share) as points of a hundred: 0.625 is 62.5."""
    return NONE if share is None else _real(share * 100, 1)


def signed(share: float | None) -> str:
    """Write a difference of scores (share) in points with its sign; what rounds to nothing has none."""
    if share is None:
        return NONE
    text = points(share)
    return f"+{text}" if share > 0 and float(text) else text


def interval(ends: Range | None) -> str:
    """Write a range of differences (shares) in points."""
    return NONE if ends is None else f"{signed(ends.low)}{SPACE}to{SPACE}{signed(ends.high)}"


def scores(ends: Range | None) -> str:
    """Write a range of scores (shares) in points of a hundred: 61.2 to 70.4."""
    return NONE if ends is None else f"{points(ends.low)}{SPACE}to{SPACE}{points(ends.high)}"


def ratings(ends: Range | None) -> str:
    """Write a range of ratings in whole numbers: 1,502 to 1,610."""
    return NONE if ends is None else f"{count(ends.low)}{SPACE}to{SPACE}{count(ends.high)}"


def percent(share: float | None) -> str:
    """Write a share in per cent, with a decimal where whole numbers would hide it."""
    if share is None:
        return NONE
    whole = abs(share * 100 - round(share * 100)) < 0.05
    return f"{_real(share * 100, 0 if whole else 1)}{SPACE}%"


def p_value(p: float | None) -> str:
    """Write a p value with three decimals, and never as nought."""
    if p is None:
        return NONE
    return f"<{SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float | None) -> str:
    """Write a p value with its letter: `p = 0.048`, `p < 0.001`."""
    text = p_value(p)
    return f"p{SPACE}{text}" if text.startswith("<") else f"p{SPACE}={SPACE}{text}"


def count(number: float | None) -> str:
    """Write a count with separators: 26,151."""
    return NONE if number is None else f"{number:,.0f}".replace("-", MINUS)


def size(octets: float | None) -> str:
    """Write bytes in decimal units, three digits at most: 5.76 GB."""
    if octets is None:
        return NONE
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007  (the unit where the loop stops is the answer)
        if octets < 999.5:
            break
        octets /= 1000
    return f"{octets:.{0 if octets >= 100 or unit == 'B' else 1 if octets >= 10 else 2}f}{SPACE}{unit}"


def plain(value: Json) -> str:
    """Write any setting or measured value: short, without braces, no more than four digits of a fraction."""
    match value:
        case None:
            text = NONE
        case bool():
            text = "yes" if value else "no"
        case float():
            text = _fraction(value)
        case int():
            text = count(value)
        case list():
            text = ", ".join(map(plain, value)) or "none"
        case dict():
            text = ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "none"
        case str():
            text = value
    return text


def rate(part: int, whole: int) -> str:
    """Write a part of a whole as a count and a share: `2 (6.3 %)`."""
    return f"{count(part)} ({percent(part / whole)})" if part and whole else count(part)


def plural(number: int, noun: str) -> str:
    """Write a count and its noun: `1 persona`, `16 personas`."""
    return f"{count(number)}{SPACE}{noun}{'' if number == 1 else 's'}"


def _real(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", MINUS)


def _fraction(value: float) -> str:
    if abs(value) < 1e15 and (value.is_integer() or abs(value) >= 1000):
        return count(value)
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    text = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return text.replace("-", MINUS)
