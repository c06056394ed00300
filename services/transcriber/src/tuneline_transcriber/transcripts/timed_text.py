"""Captions in XML: TTML, which is DFXP, IMSC and EBU-TT too, and what YouTube calls timed text.

Times of TTML are those of its second version: a clock, or a number with its unit; those of an element count from the
beginning of the one around it. Who speaks is an agent of the metadata.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import NamedTuple

from tuneline.data.text.recordings import Segment
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.reading.xml_reader import XmlError, visit
from tuneline_transcriber.transcripts.json_values import number, segment
from tuneline_transcriber.transcripts.speakers import named, spoken

_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)(?::(\d{1,3})(?:\.\d{1,3})?)?")
_OFFSET = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|ms|m|s|f|t)?")
_CAPTION = frozenset({"p", "text"})
_TIMED = _CAPTION | {"body", "div", "span"}
_LEAST_RATE, _MOST_RATE = 1e-3, 1e9


class _Span(NamedTuple):
    """From when to when an element is shown; without an end, nobody says it."""

    start: float
    end: float | None


class _Captions:
    """Collects captions."""

    def __init__(self) -> None:
        self.found: list[Segment] = []
        self._around, self._words = [_Span(0.0, None)], list[_Span]()
        self._frames, self._ticks = 30.0, 1.0
        self._names, self._agent, self._naming = dict[str, str](), "", False
        self._said: list[str] | None = None
        self._speaker: str | None = None

    def starts(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "tt":
            self._read_rates(attributes)
        elif tag == "agent":
            self._agent = attributes.get("id", "")
        elif tag == "br" and self._said is not None:
            self._said.append("\n")
        self._naming = tag == "name" and bool(self._agent)
        if tag not in _TIMED:
            return
        self._around.append(self._shown(tag, attributes))
        if tag in _CAPTION:
            self._said, self._words, self._speaker = [], [], None
        if tag == "span" and "begin" in attributes:
            self._words.append(self._around[-1])
        elif tag in _CAPTION and "begin" in attributes:
            self._words = [self._around[-1]]
        self._speaker = self._names.get(attributes.get("agent", ""), attributes.get("agent")) or self._speaker

    def ends(self, tag: str) -> None:
        if tag in _CAPTION and self._said is not None:
            spans = self._words or self._around[-1:]
            end = max((one.end for one in spans if one.end is not None), default=None)
            text = "".join(self._said)
            text = html.unescape(text) if tag == "text" else text  # YouTube writes &amp;#39;
            self.found += segment(min(one.start for one in spans), end, text, self._speaker)
            self._said = None
        if tag in _TIMED:
            self._around.pop()
        self._agent = "" if tag == "agent" else self._agent
        self._naming = False

    def says(self, text: str) -> None:
        if self._said is not None:
            self._said.append(text)
        elif self._naming:
            self._names[self._agent] = self._names.get(self._agent, "") + text

    def _read_rates(self, attributes: Mapping[str, str]) -> None:
        frames, ticks = number(attributes.get("frameRate")), number(attributes.get("tickRate"))
        parts = [number(part) or 1.0 for part in attributes.get("frameRateMultiplier", "").replace(":", " ").split()]
        rate = (frames or 30.0) * (parts[0] / parts[1] if len(parts) == 2 else 1.0)
        self._frames, self._ticks = (max(_LEAST_RATE, min(one, _MOST_RATE)) for one in (rate, ticks or frames or 1.0))

    def _shown(self, tag: str, attributes: Mapping[str, str]) -> _Span:
        around = self._around[-1]
        for key, lasts, per_second in (("t", "d", 1000), ("start", "dur", 1)):  # of YouTube
            if tag in _CAPTION and (begun := number(attributes.get(key))) is not None:
                return _Span(begun / per_second, (begun + (number(attributes.get(lasts)) or 0.0)) / per_second)
        begin, end, dur = (self._time(attributes.get(key)) for key in ("begin", "end", "dur"))
        start = around.start + (begin or 0.0)
        if end is not None:
            return _Span(start, around.start + end)
        return _Span(start, around.end if dur is None else start + dur)

    def _time(self, text: str | None) -> float | None:
        text = (text or "").strip()
        if found := _CLOCK.fullmatch(text):
            hours, minutes, seconds, frames = found.groups()
            return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds) + int(frames or 0) / self._frames
        if found := _OFFSET.fullmatch(text):
            units = {"h": 3600.0, "m": 60.0, "ms": 0.001, "f": 1 / self._frames, "t": 1 / self._ticks}
            return float(found[1]) * units.get(found[2], 1.0)
        return None


def read_timed_text(data: bytes) -> list[Segment]:
    """Read captions in XML. Raises Unusable."""
    captions = _Captions()
    try:
        visit(data, captions)
    except XmlError:
        raise Unusable("the transcript is no XML that can be read") from None
    if not captions.found:
        raise Unusable("the transcript is no captions in XML: TTML, DFXP and YouTube's are known")
    return named(spoken(captions.found))
