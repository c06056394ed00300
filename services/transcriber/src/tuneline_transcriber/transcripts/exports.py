"""What transcription services and programs export as JSON, each with times and speakers in its own places.

Here are those that write turns; `word_exports` reads those that write words, and `turn_rows` a plain list of turns.
Known are transformers (`chunks`), whisper.cpp (`transcription`), Deepgram and AWS (`results`), AWS for calls
(`Transcript`, `Segments`), AssemblyAI and Gladia (`utterances`), Azure (`recognizedPhrases`, `phrases`, and `videos` of
its Video Indexer), Gong (`callTranscripts`), Rev (`monologues`) and YouTube (`events`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tuneline.data.text.recordings import Segment
from tuneline.errors import BadJson
from tuneline.parsing.json import parse_json
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.transcripts.json_values import Object, first, number, objects, seconds, segment, span
from tuneline_transcriber.transcripts.turn_rows import names_in, read_rows
from tuneline_transcriber.transcripts.word_exports import WORD_READERS

KNOWN = (
    "OpenAI, whisper, faster-whisper, WhisperX, whisper.cpp, transformers, Podcasting 2.0, Deepgram, AWS, Google, "
    "Azure, AssemblyAI, ElevenLabs, Gladia, Speechmatics, IBM, Rev, YouTube, Teams, Gong, Fathom, Fireflies, Recall"
)
_TICKS = 1e7


def read_export(data: bytes) -> list[Segment]:
    """Read a transcript in JSON. Raises Unusable."""
    try:
        content = parse_json(data)
    except BadJson:
        raise Unusable("the transcript is no JSON") from None
    if isinstance(content, list):
        content = {"segments": content}
    if isinstance(content, dict):
        inner = first(content, "response", "result", "data")  # Google, Gladia and Fireflies wrap what they found
        content = inner if isinstance(inner, dict) and not content.get("transcription") else content  # whisper.cpp
        inner = content.get("transcript")
        content = inner if isinstance(inner, dict) else content
        for key, reader in (*_READERS.items(), *WORD_READERS.items(), *_TEXTS):
            found = list(reader(content)) if content.get(key) else []
            if found:
                return found
    raise Unusable(f"the transcript has none of the known forms: {KNOWN}")


def _turns_under(key: str) -> Callable[[Object], Iterator[Segment]]:
    """Return what reads a list of turns under a key: most programs have one."""
    return lambda content: iter(read_rows(objects(content.get(key)), names_in(content)))


def _gong(content: Object) -> Iterator[Segment]:
    for one in objects(content.get("callTranscripts"))[:1]:  # a file is of one recording
        yield from read_rows(objects(one.get("transcript")))


def _videos(content: Object) -> Iterator[Segment]:
    """Read Azure's Video Indexer: what is said once has one place in the video."""
    for video in objects(content.get("videos"))[:1]:
        insights = video.get("insights")
        if isinstance(insights, dict):
            rows = [
                {**one, **place} for one in objects(insights.get("transcript"))
                for place in objects(one.get("instances"))[:1]
            ]  # fmt: skip
            yield from read_rows(rows, names_in(insights))


def _chunks(content: Object) -> Iterator[Segment]:
    for one in objects(content.get("speakers")) or objects(content.get("chunks")):
        times = one.get("timestamp")
        start, end = times if isinstance(times, list) and len(times) == 2 else (None, None)
        yield from segment(seconds(start), seconds(end), one.get("text"), one.get("speaker"))


def _utterances(content: Object, per_second: float | None = None) -> Iterator[Segment]:
    """Read turns of speakers or channels; AssemblyAI counts whole milliseconds, Gladia seconds."""
    found = objects(content.get("utterances"))
    whole = all((number(one.get("start")) or 0.0).is_integer() for one in found)
    for one, speaker in _told_apart(found):
        times = span(one, "start", "end", per_second or (1000 if whole else 1))
        yield from segment(*times, one.get("text"), speaker)


def _told_apart(rows: Sequence[Object]) -> Iterator[tuple[Object, object]]:
    """Yield rows with who speaks: by channel, where there are several and each has one speaker only."""
    several = len({str(row.get("channel")) for row in rows}) > 1
    for row in rows:
        yield row, row.get("channel") if several or row.get("speaker") is None else row.get("speaker")


def _results(content: Object) -> Iterator[Segment]:
    results = content.get("results")
    if not isinstance(results, dict):
        return
    spoken = objects(results.get("utterances"))
    for one, speaker in _told_apart(spoken):
        yield from segment(*span(one, "start", "end"), one.get("transcript"), speaker)
    for one in objects(results.get("audio_segments")):
        label = first(one, "speaker_label", "channel_label")
        yield from segment(*span(one, "start_time", "end_time"), one.get("transcript"), label)
    if not spoken:
        yield from _paragraphs(results)


def _paragraphs(results: Object) -> Iterator[Segment]:
    channels = objects(results.get("channels"))
    for number_, channel in enumerate(channels):
        for one in objects(channel.get("alternatives"))[:1]:
            whole = one.get("paragraphs")
            for part in objects(whole.get("paragraphs")) if isinstance(whole, dict) else ():
                speaker = number_ if len(channels) > 1 else part.get("speaker")
                for said in objects(part.get("sentences")):
                    yield from segment(*span(said, "start", "end"), said.get("text"), speaker)


def _phrases(content: Object) -> Iterator[Segment]:
    """Read Azure: of a batch in ticks of 100 ns, with several guesses each; of a fast transcription in milliseconds."""
    found = objects(content.get("recognizedPhrases")) or objects(content.get("phrases"))
    for one, speaker in _told_apart(found):
        start, lasts = span(one, "offset", "duration")
        if "offsetInTicks" in one:
            start, lasts = span(one, "offsetInTicks", "durationInTicks", _TICKS)
        elif "offsetMilliseconds" in one:
            start, lasts = span(one, "offsetMilliseconds", "durationMilliseconds", 1000)
        guess = next(iter(objects(one.get("nBest"))), one)
        said = first(guess, "display", "lexical", "text")
        yield from segment(start, (start or 0.0) + (lasts or 0.0), said, speaker)


def _calls(content: Object) -> Iterator[Segment]:
    """Read the analysis of calls by AWS: a list, or a stream's list of objects that hold one each."""
    rows = objects(content.get("Transcript")) or [
        part for one in objects(content.get("Segments")) if isinstance(part := one.get("Transcript"), dict)
    ]
    for one in rows:
        times = span(one, "BeginOffsetMillis", "EndOffsetMillis", 1000)
        yield from segment(*times, one.get("Content"), first(one, "ParticipantRole", "ParticipantId"))


def _monologues(content: Object) -> Iterator[Segment]:
    """Read Rev: what machines wrote has `ts` in seconds, what people wrote `timestamp` as a clock shows it."""
    names = names_in(content)
    for one in objects(content.get("monologues")):
        parts = objects(one.get("elements"))
        starts = [time for part in parts if (time := seconds(first(part, "ts", "timestamp"))) is not None]
        ends = [time for part in parts if (time := seconds(first(part, "end_ts", "end_timestamp"))) is not None]
        said = "".join(str(part.get("value", "")) for part in parts if part.get("type") != "unknown")
        who = one.get("speaker_info") or names.get(str(one.get("speaker")), one.get("speaker"))
        yield from segment(min(starts, default=0.0), max(ends, default=0.0), said, who)


def _transcription(content: Object) -> Iterator[Segment]:
    whole = content.get("transcription")
    if isinstance(whole, dict):
        yield from _utterances(whole, 1)
    for one in objects(whole):
        offsets = one.get("offsets")
        times = span(offsets, "from", "to", 1000) if isinstance(offsets, dict) else (None, None)
        yield from segment(*times, one.get("text"), one.get("speaker"))


def _events(content: Object) -> Iterator[Segment]:
    for one in objects(content.get("events")):
        start, lasts = span(one, "tStartMs", "dDurationMs", 1000)
        said = "".join(str(part.get("utf8", "")) for part in objects(one.get("segs")))
        yield from segment(start, (start or 0.0) + (lasts or 0.0), said)


def _text_under(key: str) -> Callable[[Object], Iterator[Segment]]:
    return lambda content: segment(None, None, content.get(key))


_READERS: Mapping[str, Callable[[Object], Iterator[Segment]]] = {
    "segments": _turns_under("segments"), "speakers": _chunks, "chunks": _chunks, "utterances": _utterances,
    "results": _results, "recognizedPhrases": _phrases, "phrases": _phrases, "Transcript": _calls, "Segments": _calls,
    "monologues": _monologues, "transcription": _transcription, "events": _events, "callTranscripts": _gong,
    "videos": _videos, **{key: _turns_under(key) for key in ("entries", "sentences", "transcript", "data")},
}  # fmt: skip
_TEXTS = tuple((key, _text_under(key)) for key in ("text", "transcript", "transcription"))
