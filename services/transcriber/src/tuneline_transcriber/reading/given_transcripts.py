"""Transcripts that lie beside recordings: captions, what transcription services export, or plain text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tuneline.parsing.text import read_text
from tuneline_transcriber.reading.captions import is_captions, read_captions
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.reading.exports import read_export
from tuneline_transcriber.reading.references import SEALED
from tuneline_transcriber.reading.rows import Segment
from tuneline_transcriber.reading.speakers import spoken
from tuneline_transcriber.reading.text_transcripts import read_text_turns

MOST_BYTES = 64 * 2**20
MOST_SEGMENTS = 500_000
_SEALED = SEALED | {".pdf", ".html", ".htm", ".xhtml"}


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
    if path.suffix.lower() in _SEALED:
        raise Unusable(f"a transcript as {path.suffix.lower()} is not read; save it as .vtt, .srt, .json or .txt")
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the transcript has more than {MOST_BYTES // 2**20} MiB")
    data = path.read_bytes()
    if path.suffix.lower() == ".json":
        segments = read_export(data)
    else:
        try:
            lines = read_text(data).split("\n")
        except UnicodeDecodeError:
            raise Unusable("the transcript is not UTF-8 text; save it as UTF-8") from None
        segments = read_captions(lines) if is_captions(lines) else read_text_turns(lines)
    segments = spoken(segments)
    if not segments:
        raise Unusable("the transcript says nothing")
    if len(segments) > MOST_SEGMENTS:
        raise Unusable(f"the transcript has more than {MOST_SEGMENTS:,} segments")
    given = GivenTranscript(segments)
    return GivenTranscript(sorted(segments, key=lambda one: one.start)) if given.timed else given
