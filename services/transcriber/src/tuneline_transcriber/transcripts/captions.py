"""Captions: WebVTT, SRT, YouTube's SBV, ASS, whisper's TSV, and what whisper prints; all are lines of times, and text.

Speakers are Teams' `<v Name>`, Zoom's `Name:` and WhisperX's `[SPEAKER_00]:`. What Microsoft's Graph gives as the
metadata of a transcript is WebVTT with an object of JSON in each cue.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from tuneline.data.text.recordings import Segment
from tuneline.errors import BadJson
from tuneline.parsing.json import parse_json
from tuneline_transcriber.transcripts.json_values import seconds, segment
from tuneline_transcriber.transcripts.speakers import named, spoken

TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})(?:[.,](\d{1,3})\d{0,6})?"
_LOOSE = TIME.replace(r"(\d{2})(", r"(\d{1,2})(")
"""Seconds of one digit, as Teams wrote them into files of Word."""
_CUE = re.compile(rf"^\s*(?P<open>\[?){_LOOSE}\s*-->\s*{_LOOSE}(?P<rest>.*)$")
_SBV = re.compile(rf"^(?P<open>){TIME}\s*,\s*{TIME}(?P<rest>)\s*$")
_DIALOGUE = re.compile(r"^Dialogue:\s*([^,]{0,20},\s*\d{1,3}:\d{2}:\d{2}[.:]\d{2,3},.*)$")
_COLUMNS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
"""Of a line of ASS, unless its file says otherwise."""
_ROW = re.compile(r"^(\d{1,9})\t(\d{1,9})\t(.*)$")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,200})>")
_TAG = re.compile(r"<[^>\n]{0,200}>|\{\\[^}\n]{0,100}\}")
_LEAST_ROLLING = 4
_MOST_LINES = 8
"""Of a caption that the one after it may show again."""
_WORD_TIME = re.compile(r"<\d{2}:\d{2}:\d{2}\.\d{3}>")


class _Cue(NamedTuple):
    start: float
    end: float
    lines: list[str]


def is_captions(lines: Sequence[str]) -> bool:
    """Tell whether there is a line of times, or the mark of WebVTT, which stands alone where nobody spoke."""
    return (
        lines[0].startswith("WEBVTT")
        or any(_times(line) or _DIALOGUE.match(line) for line in lines)
        or _is_table(lines)
    )


def read_captions(lines: Sequence[str], *, name_first: bool) -> list[Segment]:
    """Read captions, with the speakers that they name; with `name_first`, in a line above what they say."""
    if any(_DIALOGUE.match(line) for line in lines):
        return named(spoken(_dialogue(lines)))
    if _is_table(lines):
        rows = (row for line in lines if (row := _ROW.match(line)))
        cues = [_Cue(int(row[1]) / 1000, int(row[2]) / 1000, [row[3]]) for row in rows]
    else:
        cues = list(_cues(lines))
    if name_first and all(len(cue.lines) > 1 for cue in cues):
        cues = [cue._replace(lines=[f"<v {cue.lines[0].strip()}>", *cue.lines[1:]]) for cue in cues]
    return named(spoken(part for cue in (_unrolled(cues) if _roll(cues) else cues) for part in _parts(cue)))


def clock(parts: Sequence[str | None]) -> float:
    """Return the groups of `TIME` in seconds."""
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")


def _is_table(lines: Sequence[str]) -> bool:
    return bool(lines) and lines[0].split("\t") == ["start", "end", "text"]


def _times(line: str) -> re.Match[str] | None:
    return _CUE.match(line) or _SBV.match(line)


def _cues(lines: Sequence[str]) -> Iterator[_Cue]:
    """Yield cues: a line of times, then text up to an empty line; printed ones have all in one line."""
    now: _Cue | None = None
    for line in [*lines, ""]:
        found = _times(line)
        if (found or not line.strip()) and now:
            said = now.lines
            yield now._replace(lines=said[:-1] if found and said and said[-1].strip().isdigit() else said)
            now = None
        if found:
            _, *times = found.groups()
            start, end = clock(times[:4]), clock(times[4:8])
            rest = found["rest"].partition("]")[2].strip() if found["open"] else ""
            now = _Cue(start, max(start, end), [rest] if rest else [])
        elif now:
            now.lines.append(line)


def _roll(cues: Sequence[_Cue]) -> bool:
    """Tell YouTube's recognised captions, also when a program has taken the times of words out of them."""
    if any(_WORD_TIME.search(line) for cue in cues for line in cue.lines):
        return True
    again = sum(_shown_again(shown, plain) > 0 for shown, plain in pairwise(map(_plain, cues)))
    return len(cues) >= _LEAST_ROLLING and 2 * again >= len(cues)


def _unrolled(cues: Sequence[_Cue]) -> Iterator[_Cue]:
    """Yield cues without the lines that the one before has shown already, as they roll."""
    shown: list[str] = []
    for cue in cues:
        plain = _plain(cue)
        kept = plain[_shown_again(shown, plain) :]
        shown = plain
        if kept:
            yield cue._replace(lines=kept)


def _plain(cue: _Cue) -> list[str]:
    return [line for one in cue.lines if (line := " ".join(_TAG.sub("", one).split()))]


def _shown_again(shown: Sequence[str], plain: Sequence[str]) -> int:
    """Return how many lines a cue begins with that the one before ended with."""
    most = min(len(plain), len(shown), _MOST_LINES)
    return next((k for k in range(most, 0, -1) if shown[-k:] == plain[:k]), 0)


def _dialogue(lines: Sequence[str]) -> Iterator[Segment]:
    """Yield the lines of ASS and SSA; the last column has all that is left, with its commas."""
    columns: Sequence[str] = _COLUMNS
    for line in lines:
        if line.startswith("Format:") and "Start" in line:
            columns = [one.strip().lower() for one in line.partition(":")[2].split(",")]
        elif found := _DIALOGUE.match(line):
            row = dict(zip(columns, found[1].split(",", len(columns) - 1), strict=False))
            text = _TAG.sub("", row.get("text", "")).replace("\\N", " ").replace("\\n", " ").replace("\\h", " ")
            yield from segment(seconds(row.get("start")), seconds(row.get("end")), text, row.get("name"))


def _parts(cue: _Cue) -> Iterator[Segment]:
    said = "\n".join(cue.lines)
    if said.startswith("{") and '"spokenText"' in said:
        with suppress(BadJson):
            content = parse_json(said.encode())
            if isinstance(content, dict):
                yield from segment(cue.start, cue.end, content.get("spokenText"), content.get("speakerName"))
                return
    before, *voices = re.split(_VOICE, said)  # what no voice has, then voice and text by turns
    for speaker, text in [(None, before), *zip(voices[::2], voices[1::2], strict=True)]:
        yield from segment(cue.start, cue.end, html.unescape(_TAG.sub("", text)), html.unescape(speaker or ""))
