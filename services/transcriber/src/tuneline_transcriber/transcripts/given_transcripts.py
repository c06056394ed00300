"""Transcripts that lie beside recordings: captions, what transcription services export, or plain text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tuneline.data.text.recordings import Segment
from tuneline.data.text.words import word_count
from tuneline.parsing.text import read_text
from tuneline_transcriber.reading.documents import Unusable, office_text, refuse_stub
from tuneline_transcriber.reading.references import JSON, OFFICE, PAGES, SEALED, TABLES, TIMED_TEXT
from tuneline_transcriber.transcripts.captions import is_captions, read_captions
from tuneline_transcriber.transcripts.exports import read_export
from tuneline_transcriber.transcripts.speakers import spoken
from tuneline_transcriber.transcripts.tables import read_table
from tuneline_transcriber.transcripts.text_transcripts import read_lyrics, read_text_turns
from tuneline_transcriber.transcripts.timed_text import read_timed_text

MOST_BYTES = 64 * 2**20
MOST_SEGMENTS = 200_000
"""Two a second, all day long."""
MOST_LINES = 5 * MOST_SEGMENTS
"""Of captions: number, times, a line or two, and an empty one."""
_CLOCK_S = 3600.0
"""Of times that begin later, and go on for less than that, nobody counted the seconds before."""
_WRITTEN = frozenset({".docx", ".docm", ".odt"})
_SEALED = (SEALED | OFFICE | PAGES | {".pdf"}) - _WRITTEN


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

    def alone(self) -> list[Segment]:
        """Return the segments as they stand without a recording. Raises Unusable where they have no times.

        Times of a clock, as Zoom saves captions, count from the first: no sound is there that they must fit.
        """
        if not self.timed:
            raise Unusable("a transcript that has no times needs its recording", "no_audio")
        begun, ended = self.segments[0].start, max(one.end for one in self.segments)
        if begun < max(_CLOCK_S, ended - begun):
            return self.segments
        return [
            one.model_copy(update={"start": round(one.start - begun, 3), "end": round(one.end - begun, 3)})
            for one in self.segments
        ]

    def spread(self, seconds: float) -> list[Segment]:
        """Return the segments; those without times get their share of the recording, by words."""
        if self.timed:
            return self.segments
        lengths, done, found = [max(1, word_count(one.text)) for one in self.segments], 0, []
        total = sum(lengths)
        for one, length in zip(self.segments, lengths, strict=True):
            start, done = done, done + length
            times = {"start": round(seconds * start / total, 3), "end": round(seconds * done / total, 3)}
            found.append(Segment(**{**one.__dict__, **times}))
        return found


def read_given(path: Path) -> GivenTranscript:
    """Read a transcript. Raises Unusable."""
    suffix = path.suffix.lower()
    if suffix in _SEALED:
        raise Unusable(f"a transcript as {suffix} is not read; save it as .vtt, .srt, .docx, .odt, .json or .txt")
    if path.stat().st_size > MOST_BYTES:
        raise Unusable(f"the transcript has more than {MOST_BYTES // 2**20} MiB")
    data = path.read_bytes()
    refuse_stub(data, "transcript")
    if suffix not in JSON and data.count(b"\n") > MOST_LINES:
        raise Unusable(f"the transcript has more than {MOST_LINES:,} lines")
    segments = spoken(_read(data, suffix))
    if not segments:
        raise Unusable("the transcript says nothing")
    if len(segments) > MOST_SEGMENTS:
        raise Unusable(f"the transcript has more than {MOST_SEGMENTS:,} segments")
    given = GivenTranscript(segments)
    return GivenTranscript(sorted(segments, key=lambda one: one.start)) if given.timed else given


def _read(data: bytes, suffix: str) -> list[Segment]:
    """Read what a file's name says that it is. Raises Unusable."""
    if suffix in JSON:
        return read_export(data)
    if suffix in TIMED_TEXT:
        return read_timed_text(data)
    if suffix in _WRITTEN:
        lines = office_text(data, "transcript").replace("\f", "\n").split("\n")
    else:
        try:
            lines = read_text(data).split("\n")
        except UnicodeDecodeError:
            raise Unusable("the transcript is not UTF-8 text; save it as UTF-8") from None
    if is_captions(lines):
        return read_captions(lines, name_first=suffix in _WRITTEN)
    if suffix in TABLES:
        return read_table(lines)
    if sum(map(bool, lines)) > MOST_SEGMENTS:
        raise Unusable(f"the transcript has more than {MOST_SEGMENTS:,} lines of text")
    return read_lyrics(lines) if suffix == ".lrc" else read_text_turns(lines)
