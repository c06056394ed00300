"""Values of JSON that others wrote, as segments: times in any of their notations, names, words that become turns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.data.text.recordings import Segment
from tuneline.parsing.text import cleaned

Object = Mapping[str, object]
NOBODY = frozenset({"", "?", "UU", "unknown", "None"})
"""What is written where nobody knows who speaks: by whisper.cpp, Speechmatics, AWS."""
MOST_SECONDS = 30.0
"""Of words without a full stop in one segment."""
PAUSE_S = 1.5
WORD_S = 0.4
"""Seconds of a word, where the time after it is not known: 150 a minute."""
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2}(?:[.,]\d{1,9})?)")
_ISO = re.compile(r"PT(?:(\d{1,3})H)?(?:(\d{1,4})M)?(?:(\d{1,7}(?:\.\d{1,9})?)S)?")


class Word(NamedTuple):
    """A word, in seconds from the beginning; punctuation is glued to what stands before it."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None = None
    glued: bool = False


def seconds(value: object, per_second: float = 1) -> float | None:
    """Return a time in seconds: 1.5, "1.5", "1.500s", "00:00:01,500", "PT1.5S", or {"seconds": 1, "nanos": 5e8}.

    Of {"relative": 1.5} what it holds, and of "00:00:01:12" what stands before the frames.
    """
    if isinstance(value, dict):
        if "relative" in value:
            return number(value["relative"])
        whole, nanos = number(value.get("seconds", 0)), number(value.get("nanos", 0))
        return None if whole is None or nanos is None else whole + nanos / 1e9
    if isinstance(value, str):
        text = value.strip()[:40]
        text = text.rpartition(":")[0] if text.count(":") == 3 else text
        if found := _CLOCK.fullmatch(text) or (_ISO.fullmatch(text) if len(text) > 2 else None):
            hours, minutes, rest = found.groups()
            return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float((rest or "0").replace(",", "."))
        value = text.removesuffix("s")
    found_number = number(value)
    return None if found_number is None else found_number / per_second


def span(one: Object, start: str, end: str, per_second: float = 1) -> tuple[float | None, float | None]:
    """Return the times under two keys, in seconds."""
    return seconds(one.get(start), per_second), seconds(one.get(end), per_second)


def number(value: object) -> float | None:
    """Return a number from 0 on, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found < 1e12 else None


def first(one: Object, *keys: str) -> object:
    """Return the value of the first key that is there and not null."""
    return next((one[key] for key in keys if one.get(key) is not None), None)


def objects(value: object) -> Sequence[Object]:
    """Return the objects of a list; nothing if it is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def name_of(value: object) -> str | None:
    """Return who speaks, by name or number, None if nobody knows."""
    if isinstance(value, dict):
        value = first(value, "name", "display_name", "label", "id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    name = " ".join(cleaned(str(value)).split())[:100]
    return None if name in NOBODY else name


def segment(start: float | None, end: float | None, text: object, speaker: object = None) -> Iterator[Segment]:
    """Yield a segment, if it has text."""
    if not isinstance(text, str) or not text.strip():
        return
    begun, ended = min(start or 0.0, 1e6), min(end or 0.0, 1e6)
    said = " ".join(cleaned(text).split())
    yield Segment(start=round(begun, 3), end=round(max(begun, ended), 3), text=said, speaker=name_of(speaker))


def turns(words: Iterable[Word]) -> Iterator[Segment]:
    """Yield words as segments: up to a full stop, a pause or another speaker."""
    held: list[Word] = []
    for word in words:
        if held and not word.glued and _is_over(held, word):
            yield from _turn(held)
            held = []
        held.append(word)
    if held:
        yield from _turn(held)


def _is_over(held: Sequence[Word], word: Word) -> bool:
    last = held[-1]
    if word.speaker != last.speaker and word.speaker is not None:
        return True
    if word.start is None or last.end is None:
        return False
    begun = held[0].start or 0.0
    return last.text.endswith((".", "?", "!", "。")) or word.start - last.end > PAUSE_S or (
        word.start - begun > MOST_SECONDS
    )  # fmt: skip


def _turn(held: Sequence[Word]) -> Iterator[Segment]:
    text = "".join(f"{'' if word.glued else ' '}{word.text}" for word in held)
    ends = [word.end for word in held if word.end is not None]
    yield from segment(held[0].start, ends[-1] if ends else None, text, held[0].speaker)
