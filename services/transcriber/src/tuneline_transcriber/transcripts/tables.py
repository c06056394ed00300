"""Transcripts as tables: whisper.cpp's CSV, and what Premiere and others export, by the names of their columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence

from tuneline.data.text.recordings import Segment
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.transcripts.turn_rows import read_rows

_NAMES: Mapping[str, str] = {
    "start": "start", "begin": "start", "time": "start", "timestamp": "start", "in": "start", "timecode": "start",
    "end": "end", "out": "end", "duration": "duration", "speaker": "speaker", "name": "speaker",
    "text": "text", "transcript": "text", "sentence": "text", "content": "text", "subtitle": "text", "caption": "text",
}  # fmt: skip
"""What a column is, by its name without a `time`, `name` or mark at its end."""
_ENDING = re.compile(r"[ _-]?(?:time|name|timecode)?(?: ?[(\[].*)?$", re.IGNORECASE)


def read_table(lines: Sequence[str]) -> list[Segment]:
    """Read a table. Raises Unusable."""
    try:
        head, *rows = csv.reader(lines, delimiter=max(",;\t", key=lines[0].count))
    except csv.Error:
        raise Unusable("the transcript is no table that can be read") from None
    columns = [_column(name) for name in head]
    if "text" not in columns:
        raise Unusable("the transcript is a table without a column `text` (and `start`, `end`, `speaker`)")
    named = [dict(zip(columns, row, strict=False)) for row in rows if row]
    return read_rows([{key: value for key, value in row.items() if key and value.strip()} for row in named])


def _column(name: str) -> str:
    plain = name.strip().strip('"').lower()
    return _NAMES.get(plain) or _NAMES.get(_ENDING.sub("", plain), "")
