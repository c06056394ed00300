"""A list of turns, as most programs write it in JSON, and tables: who, from when to when, and what, by usual names.

OpenAI, whisper, WhisperX and Premiere call it `segments`, Teams `entries`, Fireflies, Twilio and AssemblyAI
`sentences`, Fathom and Sonix `transcript`, tl;dv `data`; Recall and faster-whisper write the list alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tuneline.data.text.recordings import Segment
from tuneline.data.text.words import word_count
from tuneline_transcriber.transcripts.json_values import (
    WORD_S,
    Object,
    Word,
    first,
    name_of,
    number,
    objects,
    seconds,
    segment,
    turns,
)

START = ("start", "startTime", "start_time", "startOffset", "start_timestamp", "timestamp")
END = ("end", "endTime", "end_time", "endOffset", "end_timestamp")
TEXT = ("text", "body", "sentence", "transcript", "content")
WHO = (
    "speaker", "speaker_name", "speakerName", "speakerDisplayName", "speaker_id", "speakerId", "participant",
    "media_channel",
)  # fmt: skip
_SLOW_S = 5.0
"""Nobody takes so long for one letter: such seconds are thousandths."""


def read_rows(rows: Sequence[Object], names: Mapping[str, object] | None = None) -> list[Segment]:
    """Return turns with their times; `names` says who a speaker's number is."""
    flat = list(_flat(rows))
    per_second = 1000 if _in_thousandths(flat) else 1
    found: list[Segment] = []
    for row in flat:
        found += _turn(row, per_second, names or {})
    return _lasting(found)


def names_in(content: Object) -> dict[str, object]:
    """Return the names of speakers by their number, where a list of them is there."""
    known = objects(first(content, "speakers", "participants"))
    return {str(one["id"]): name for one in known if "id" in one and (name := first(one, "name", "display_name"))}


def _flat(rows: Sequence[Object]) -> Iterator[Object]:
    """Yield turns; of Gong's monologues their sentences, each with who speaks."""
    for row in rows:
        parts = objects(row.get("sentences"))
        yield from ({"speaker": first(row, *WHO), **part} for part in parts) if parts else (row,)


def _in_thousandths(rows: Sequence[Object]) -> bool:
    """Tell milliseconds from seconds: whole numbers, and so many for a letter as no voice needs."""
    lasts = letters = 0.0
    for row in rows:
        start, end = first(row, *START), first(row, *END)
        if not (_is_whole(start) and _is_whole(end)):
            return False
        lasts += (seconds(end) or 0.0) - (seconds(start) or 0.0)
        letters += len(str(first(row, *TEXT) or "").strip())
    return lasts > _SLOW_S * letters > 0


def _is_whole(value: object) -> bool:
    found = number(value)
    return found is not None and found.is_integer()


def _turn(row: Object, per_second: float, names: Mapping[str, object]) -> Iterator[Segment]:
    who = first(row, *WHO)
    who = names.get(str(who), who) if isinstance(who, str | int) else who
    text = first(row, *TEXT)
    if text is None:
        yield from turns(_words(objects(row.get("words")), name_of(who)))
        return
    yield from segment(*_times(row, per_second), text, who)


def _words(rows: Sequence[Object], who: str | None) -> Iterator[Word]:
    for one in rows:
        glued = one.get("type") == "punctuation"
        yield Word(str(first(one, "text", "word") or "").strip(), *_times(one), who, glued)


def _times(row: Object, per_second: float = 1) -> tuple[float | None, float | None]:
    """Return from when to when, where the end may be told by how long it lasts."""
    start, end = (seconds(first(row, *keys), per_second) for keys in (START, END))
    lasts = seconds(row.get("duration"), per_second)
    return start, start + lasts if end is None and start is not None and lasts is not None else end


def _lasting(found: list[Segment]) -> list[Segment]:
    """Let each turn last until the next begins, where only beginnings are known."""
    if len(found) < 2 or any(one.end > one.start for one in found) or not found[-1].start:
        return found
    ends = [max(one.start, after.start) for one, after in pairwise(found)]
    ends.append(round(found[-1].start + WORD_S * max(1, word_count(found[-1].text)), 3))
    return [one.model_copy(update={"end": end}) for one, end in zip(found, ends, strict=True)]
