"""What transcription services export as JSON, each with times and speakers in its own places.

Known are WhisperX and OpenAI (`segments`), Podcasting 2.0 (`segments` with `startTime` and `body`), Deepgram and AWS
(`results`), AssemblyAI (`utterances`, in milliseconds), Rev (`monologues`) and whisper.cpp (`transcription`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tuneline.errors import BadJson
from tuneline.parsing.json import parse_json
from tuneline_transcriber.documents import Unusable
from tuneline_transcriber.rows import Segment

Object = Mapping[str, object]


def read_export(data: bytes) -> list[Segment]:
    """Read a transcript in JSON. Raises Unusable."""
    try:
        content = parse_json(data)
    except BadJson:
        raise Unusable("the transcript is no JSON") from None
    if isinstance(content, list):
        content = {"segments": content}
    if isinstance(content, dict):
        for key, reader in _READERS.items():
            found = list(reader(content)) if content.get(key) else []
            if found:
                return found
    raise Unusable(
        "the transcript has none of the known forms: WhisperX, OpenAI, Podcasting 2.0, Deepgram, AWS, AssemblyAI, Rev, "
        "whisper.cpp"
    )


def _segments(content: Object) -> Iterator[Segment]:
    for one in _objects(content.get("segments")):
        times = one.get("start", one.get("startTime")), one.get("end", one.get("endTime"))
        yield from _segment(*times, one.get("text", one.get("body")), one.get("speaker"))


def _utterances(content: Object) -> Iterator[Segment]:
    for one in _objects(content.get("utterances")):
        yield from _segment(one.get("start"), one.get("end"), one.get("text"), one.get("speaker"), 1000)


def _results(content: Object) -> Iterator[Segment]:
    results = content.get("results")
    if not isinstance(results, dict):
        return
    several = len({str(one.get("channel")) for one in _objects(results.get("utterances"))}) > 1
    for one in _objects(results.get("utterances")):
        speaker = one.get("channel") if several or one.get("speaker") is None else one.get("speaker")
        yield from _segment(one.get("start"), one.get("end"), one.get("transcript"), speaker)
    for one in _objects(results.get("audio_segments")):
        yield from _segment(one.get("start_time"), one.get("end_time"), one.get("transcript"), one.get("speaker_label"))
    if not results.get("utterances"):
        yield from _deepgram_paragraphs(results)


def _deepgram_paragraphs(results: Object) -> Iterator[Segment]:
    for channel in _objects(results.get("channels")):
        for one in _objects(channel.get("alternatives"))[:1]:
            whole = one.get("paragraphs")
            for part in _objects(whole.get("paragraphs")) if isinstance(whole, dict) else ():
                said = " ".join(str(s.get("text", "")) for s in _objects(part.get("sentences")))
                yield from _segment(part.get("start"), part.get("end"), said, part.get("speaker"))


def _monologues(content: Object) -> Iterator[Segment]:
    for one in _objects(content.get("monologues")):
        parts = _objects(one.get("elements"))
        starts = [t for p in parts if (t := _number(p.get("ts"))) is not None]
        ends = [t for p in parts if (t := _number(p.get("end_ts"))) is not None]
        said = "".join(str(p.get("value", "")) for p in parts if p.get("type") != "unknown")
        yield from _segment(min(starts, default=0.0), max(ends, default=0.0), said, one.get("speaker"))


def _transcription(content: Object) -> Iterator[Segment]:
    for one in _objects(content.get("transcription")):
        offsets = one.get("offsets")
        times = (offsets.get("from"), offsets.get("to")) if isinstance(offsets, dict) else (None, None)
        yield from _segment(*times, one.get("text"), one.get("speaker"), 1000)


_READERS: Mapping[str, Callable[[Object], Iterator[Segment]]] = {
    "segments": _segments, "utterances": _utterances, "results": _results, "monologues": _monologues,
    "transcription": _transcription,
}  # fmt: skip


def _segment(start: object, end: object, text: object, speaker: object, per_second: int = 1) -> Iterator[Segment]:
    """Yield a segment, if it has text."""
    if not isinstance(text, str) or not text.strip():
        return
    begun, ended = (_number(start) or 0.0) / per_second, (_number(end) or 0.0) / per_second
    who = speaker.get("name", speaker.get("id")) if isinstance(speaker, dict) else speaker
    named = str(who).strip()[:100] if isinstance(who, str | int) and str(who).strip() else None
    said = "".join(c for c in " ".join(text.split()) if not "\ud800" <= c <= "\udfff")
    yield Segment(start=round(begun, 3), end=round(max(begun, ended), 3), text=said, speaker=named)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e9 else None


def _objects(value: object) -> Sequence[Object]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
