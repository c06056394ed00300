"""Transcripts that lie beside recordings: captions, what transcription services export, or plain text.

Captions are WebVTT (Teams' `<v Name>`, Zoom's `Name:`) and SRT (`[SPEAKER_00]:`); `tuneline_transcriber.exports` reads
JSON. Plain text may have a line `Name  0:12` above each turn, `Name: text` on each, or no speakers; without times,
words are spread evenly over the recording.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tuneline_transcriber.documents import Unusable
from tuneline_transcriber.exports import read_export
from tuneline_transcriber.rows import Segment

MOST_BYTES = 64 * 2**20
MOST_SEGMENTS = 500_000

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})(?:[.,](\d{1,3}))?"
_CUE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,200})>")
_TAG = re.compile(r"<[^>\n]{0,200}>")
_BRACKET = re.compile(r"^\[([^\]\n]{1,60})\]:?\s+(?=\S)")
_NAME = re.compile(r"^([^\W_][^:\n]{0,40}?):\s+(?=\S)")
_HEAD = re.compile(rf"^(?P<name>[^\W_][^\n]{{0,60}}?)\s+[(\[]?{_TIME}[)\]]?\s*$")
_STAMP = re.compile(rf"^[(\[]{_TIME}[)\]]\s*")


class GivenTranscript(NamedTuple):
    """What somebody else wrote down."""

    segments: list[Segment]
    """With `end` 0 throughout where there are no times."""

    @property
    def timed(self) -> bool:
        return any(one.end > 0 for one in self.segments)

    @property
    def text(self) -> str:
        return " ".join(one.text for one in self.segments)

    def spread(self, seconds: float) -> list[Segment]:
        """Return the segments; those without times get their share of the recording, by words."""
        if self.timed:
            return self.segments
        total, done, found = sum(len(one.text.split()) for one in self.segments), 0, []
        for one in self.segments:
            start, done = done, done + len(one.text.split())
            times = {"start": round(seconds * start / total, 3), "end": round(seconds * done / total, 3)}
            found.append(one.model_copy(update=times))
        return found


def read_given(path: Path) -> GivenTranscript:
    """Read a transcript. Raises Unusable."""
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the transcript has more than {MOST_BYTES // 2**20} MiB")
    data = path.read_bytes()
    if path.suffix.lower() == ".json":
        segments = read_export(data)
    else:
        lines = _lines(data)
        captions = any(_CUE.match(line) for line in lines)
        segments = _cues(lines) if captions else _plain(lines)
    if not any(one.text.strip() for one in segments):
        raise Unusable("the transcript says nothing")
    if len(segments) > MOST_SEGMENTS:
        raise Unusable(f"the transcript has more than {MOST_SEGMENTS:,} segments")
    segments = [one for one in segments if one.text.strip()]
    return GivenTranscript(sorted(segments, key=lambda one: one.start) if segments[-1].end else segments)


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("the transcript is not UTF-8 text; save it as UTF-8") from None
    return [re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", line) for line in re.split(r"\r\n|\r|\n", text)]


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")


def _cues(lines: Sequence[str]) -> list[Segment]:
    """Read captions: a line of times, then text up to an empty line."""
    found: list[Segment] = []
    place: re.Match[str] | None = None
    said: list[str] = []
    for line in [*lines, ""]:
        times = _CUE.match(line)
        if (times or not line.strip()) and place:
            found += _cue(place, "\n".join(said[:-1] if times and said and said[-1].strip().isdigit() else said))
            place, said = None, []
        if times:
            place, said = times, []
        elif place:
            said.append(line)
    return _named(found)


def _cue(times: re.Match[str], said: str) -> Iterator[Segment]:
    start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
    voices = list(_VOICE.finditer(said))
    pieces = [(None, said[: voices[0].start()] if voices else said)]
    for one, after in zip(voices, [*voices[1:], None], strict=False):
        pieces.append((one[1].strip(), said[one.end() : after.start() if after else None]))  # type: ignore[arg-type]
    for speaker, text in pieces:
        plain = " ".join(html.unescape(_TAG.sub("", text)).split())
        if plain:
            yield Segment(start=start, end=max(start, end), text=plain, speaker=speaker)


def _named(segments: list[Segment]) -> list[Segment]:
    """Take speakers from the beginnings of texts, if so many begin with a name that it is no colon by chance."""
    if any(one.speaker for one in segments):
        return segments
    heads = [_BRACKET.match(one.text) or _NAME.match(one.text) for one in segments]
    names = Counter(head[1].strip() for head in heads if head)
    named = sum(names.values())
    if not names or named < len(segments) / 2 or (named < len(segments) and max(names.values()) < 2):
        return segments
    found, speaker = [], None
    for one, head in zip(segments, heads, strict=True):
        speaker = head[1].strip() if head else speaker  # a turn goes on in the next caption
        found.append(one.model_copy(update={"speaker": speaker, "text": one.text[head.end() :] if head else one.text}))
    return found


def _plain(lines: Sequence[str]) -> list[Segment]:
    """Read text: turns below lines with name and time, or a turn or paragraph a line."""
    heads = {number: head for number, line in enumerate(lines) if (head := _HEAD.match(line.strip()))}
    if heads:
        return _below(lines, heads)
    stamps = [_STAMP.match(line.strip()) for line in lines]
    found = []
    for line, stamp in zip(lines, stamps, strict=True):
        text = " ".join(line.strip()[stamp.end() if stamp else 0 :].split())
        start = _seconds(stamp.groups()) if stamp else 0.0
        if text:
            found.append(Segment(start=start, end=0.0, text=text))
    return _named(_ended(found) if any(stamps) else found)


def _below(lines: Sequence[str], heads: dict[int, re.Match[str]]) -> list[Segment]:
    found, places = [], [*heads, len(lines)]
    for place, after in pairwise(places):
        text = " ".join(" ".join(lines[place + 1 : after]).split())
        name = heads[place]["name"].strip(" -–—:|")
        if text:
            times = _seconds(heads[place].groups()[1:])
            found.append(Segment(start=times, end=0.0, text=text, speaker=name or None))
    return _ended(found)


def _ended(segments: list[Segment]) -> list[Segment]:
    """Let each turn last until the next begins, the last one as long as its words take at 150 a minute."""
    found = []
    for one, after in zip(segments, [*segments[1:], None], strict=True):
        end = after.start if after else one.start + len(one.text.split()) * 0.4
        found.append(one.model_copy(update={"end": max(one.start, end)}))
    return found
