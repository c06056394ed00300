"""Transcripts as plain text: turns below a line with name and time, times before lines, names, or nothing of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from tuneline.data.text.recordings import Segment
from tuneline.data.text.words import word_count
from tuneline_transcriber.transcripts.captions import TIME, clock
from tuneline_transcriber.transcripts.json_values import WORD_S, name_of
from tuneline_transcriber.transcripts.speakers import head_of, named, names_in, spoken

_HEAD = re.compile(
    rf"^\[?(?P<name>[^\W_][^\n\]]{{0,60}}?)\]?:?\s+[(\[]?{TIME}[)\]]?:?(?:\s*$|(?<=[)\]:])\s*(?P<said>\S.*)$)"
)
_STAMP = re.compile(rf"^(?P<open>[(\[]?){TIME}(?:[)\]]|(?=[\s:-]|$))\s*[-–—|:]?\s*")
_LYRIC_TIME = re.compile(r"\[(\d{1,4}):(\d{1,2})(?:[.:](\d{1,3}))?\]")
_LYRIC = re.compile(r"^((?:\[\d{1,4}:\d{1,2}(?:[.:]\d{1,3})?\]\s*)+)(.*)$")
_LYRIC_WORD = re.compile(r"<\d{1,4}:\d{1,2}(?:[.:]\d{1,3})?>")
_AHEAD = re.compile(r"^\[offset:\s*([+-]?\d{1,9})\]$", re.IGNORECASE)
"""By how many milliseconds all lines of LRC are shown earlier."""
_FOOTER = re.compile(
    r"^(?:Transcribed by https?://\S+|This transcript was \w+ by .{0,100}|.{1,80} (?:started|stopped) transcription)$",
    re.IGNORECASE,
)
_TIME_ONLY = re.compile(rf"^[(\[]?{TIME}[)\]]?$")
_TIME_FIRST = re.compile(rf"^@?(?P<time>[(\[]?{TIME}[)\]]?)(?:\s*[-–—|]\s*|\s+)(?P<name>[^\W_][^:\n]{{0,60}})$")
_MOST_NAME = 60
_LEAST_HEADS = 1 / 6
"""Share of a text's lines that are heads, at least; fewer are sentences that end with a time of day."""


class _Line(NamedTuple):
    """A line of text: what is said, and from when on, if it says so."""

    start: float | None
    text: str
    speaker: str | None = None
    begins: bool = True
    """Whether it is the first of a paragraph."""


def read_text_turns(lines: Sequence[str]) -> list[Segment]:
    """Read a transcript. Segments end at 0 throughout where there are no times."""
    plain = [line.replace("**", "").strip() for line in lines]
    plain = ["" if _FOOTER.match(line) else line for line in plain]
    headed = _with_heads(plain)
    heads = _heads(headed)
    return _timed(_below(headed, heads) if heads else _stamped(headed))


def read_lyrics(lines: Sequence[str]) -> list[Segment]:
    """Read LRC: each line lasts until the next begins; one that comes several times has as many times before it."""
    shift = 0.0
    found: list[_Line] = []
    for line in lines:
        if ahead := _AHEAD.match(line.strip()):
            shift = int(ahead[1]) / 1000
        elif stamps := _LYRIC.match(line.strip()):
            text = " ".join(_LYRIC_WORD.sub("", stamps[2]).split())
            times = (clock((None, *stamp.groups())) for stamp in _LYRIC_TIME.finditer(stamps[1]))
            found += [_Line(max(0.0, time - shift), text) for time in times]
    found.sort(key=lambda one: one.start or 0.0)
    return named(spoken(_timed(found))) if found else []


def _with_heads(lines: Sequence[str]) -> Sequence[str]:
    """Put name and time into one line, where the time stands first, or either has a line of its own."""
    found = list(lines)
    first = {place: one for place, line in enumerate(lines) if (one := _TIME_FIRST.match(line))}
    if _are_names([one["name"] for one in first.values()]) and all(_says(lines, place + 1) for place in first):
        for place, one in first.items():
            found[place] = f"{one['name']} {one['time']}"
        return found
    times = [place for place, line in enumerate(lines) if _TIME_ONLY.match(line)]
    for step in (-1, 1) if times else ():  # the name above the time, or below it
        names = [lines[place + step] if 0 <= place + step < len(lines) else "" for place in times]
        counts = [sum(map(bool, lines[a + 1 : b])) for a, b in pairwise([*times, len(lines)])]
        least = min([*counts[:-1], counts[-1] + 1] if step < 0 else counts)  # no name is below the last
        if _are_names(names) and least > 1:
            for place, name in zip(times, names, strict=True):
                found[place], found[place + step] = f"{name} {lines[place]}", ""
            return found
    return found


def _says(lines: Sequence[str], place: int) -> bool:
    """Tell whether a line is what somebody says, and no head."""
    return place < len(lines) and bool(lines[place]) and not _STAMP.match(lines[place])


def _are_names(texts: Sequence[str]) -> bool:
    """Tell names from what is said: few different ones, and none that ends as a sentence does."""
    few = len(set(texts)) <= max(2, len(texts) // 2)
    return len(texts) > 1 and few and all(map(_may_be_name, texts))


def _may_be_name(text: str) -> bool:
    if not text or len(text) > _MOST_NAME or ":" in text or _STAMP.match(text):
        return False
    return text[0].isalnum() and text[-1] not in ".,;?!…" and _is_name(text)


def _heads(lines: Sequence[str]) -> dict[int, re.Match[str]]:
    """Return the lines with name and time, if there are enough, in the order of their times."""
    matches = ((number, _HEAD.match(line)) for number, line in enumerate(lines))
    heads = {number: found for number, found in matches if found and _is_name(found["name"])}
    places, times = list(heads), [clock(found.groups()[1:5]) for found in heads.values()]
    title = sum(1 for _ in takewhile(lambda two: two[0] > two[1], pairwise(times)))  # it has the date, and how long
    in_order = all(a <= b for a, b in pairwise(times[title:]))
    enough = len(heads) - title >= _LEAST_HEADS * sum(map(bool, lines))
    return {place: heads[place] for place in places[title:]} if in_order and enough else {}


def _is_name(text: str) -> bool:
    """Tell a name from the beginning of a sentence, by its letters: `Ludwig van Beethoven`, not `We meet again at`."""
    words = text.split()
    return len(words) == 1 or sum(word[0].islower() for word in words) <= len(words) / 2


def _below(lines: Sequence[str], heads: dict[int, re.Match[str]]) -> list[_Line]:
    found = []
    for place, after in pairwise([*heads, len(lines)]):
        text = " ".join(" ".join([heads[place]["said"] or "", *lines[place + 1 : after]]).split())
        name = heads[place]["name"].strip(" -–—:|•[]")
        found.append(_Line(clock(heads[place].groups()[1:5]), text, name_of(name)))
    return [one for one in found if one.text]


def _stamped(lines: Sequence[str]) -> list[_Line]:
    """Read lines of which some may begin with a time; text before the first time is said before it, if that can be."""
    stamps = [_STAMP.match(line) for line in lines]
    bare = [clock(stamp.groups()[1:]) for stamp in stamps if stamp and not stamp["open"]]
    if len(bare) == 1 or any(a > b for a, b in pairwise(bare)):  # times of day in sentences
        stamps = [s if s and (s["open"] or s.end() == len(s.string)) else None for s in stamps]
    found: list[_Line] = []
    start, before = None, ""
    for line, stamp in zip(lines, stamps, strict=True):
        start = clock(stamp.groups()[1:]) if stamp else start
        if text := " ".join(line[stamp.end() if stamp else 0 :].split()):
            found.append(_Line(start, text, None, bool(stamp) or not before))
            start = None
        before = line
    starts = [one.start for one in found if one.start is not None]
    if starts and starts[0] == 0:
        found = found[next(place for place, one in enumerate(found) if one.start is not None) :]
    return _joined(found)


def _joined(lines: Sequence[_Line]) -> list[_Line]:
    """Give speakers to lines; where there are times or names, join those that only go on."""
    texts = [one.text for one in lines]
    said = names_in(texts, [one.begins for one in lines]) or [(None, text) for text in texts]
    marked = any(line.start is not None or speaker for line, (speaker, _) in zip(lines, said, strict=True))
    found: list[tuple[_Line, list[str]]] = []
    for line, (speaker, text) in zip(lines, said, strict=True):
        goes_on = marked and line.start is None and not (speaker and head_of(line.text))
        if goes_on and found:
            found[-1][1].append(text)
        else:
            found.append((line._replace(speaker=speaker), [text]))
    joined = [line._replace(text=" ".join(filter(None, pieces))) for line, pieces in found]
    return [one for one in joined if one.text]


def _timed(lines: Sequence[_Line]) -> list[Segment]:
    """Let each turn last until the next begins; those without times share what lies between, by words."""
    if not any(one.start is not None for one in lines):
        return [Segment(start=0, end=0, text=one.text, speaker=one.speaker) for one in lines]
    lengths = [max(1, word_count(one.text)) for one in lines]
    known = {place: one.start for place, one in enumerate(lines) if one.start is not None}
    known.setdefault(0, 0.0)
    known.setdefault(len(lines), max(known.values()) + WORD_S * sum(lengths[max(known) :]))
    starts = [0.0] * (len(lines) + 1)
    for (place, at), (after, then) in pairwise(sorted(known.items())):
        total, done = sum(lengths[place:after]), 0
        for inner in range(place, after):
            starts[inner] = round(at + max(0.0, then - at) * done / total, 3)
            done += lengths[inner]
    starts[-1] = round(known[len(lines)], 3)
    return [
        Segment(start=starts[place], end=max(starts[place], starts[place + 1]), text=one.text, speaker=one.speaker)
        for place, one in enumerate(lines)
    ]
