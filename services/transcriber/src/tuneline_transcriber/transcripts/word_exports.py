"""What services export as JSON where they write words with times, which become turns here.

Google and Speechmatics write a list of `results`, IBM too; AWS and Deepgram an object; AssemblyAI, ElevenLabs and
OpenAI (asked for words alone) write `words`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tuneline.data.text.recordings import Segment
from tuneline_transcriber.transcripts.json_values import (
    Object,
    Word,
    first,
    name_of,
    objects,
    seconds,
    segment,
    span,
    turns,
)


def _results(content: Object) -> Iterator[Segment]:
    results = content.get("results")
    if isinstance(results, dict):
        yield from _deepgram(results)
        yield from _aws(results)
        for file in results.values():  # Google's batches, by the recording's address
            if isinstance(file, dict):
                whole = first(file, "transcript", "inlineResult")
                inner = whole.get("transcript") if isinstance(whole, dict) and "transcript" in whole else whole
                yield from _google(objects(inner.get("results")) if isinstance(inner, dict) else ())
        return
    rows = objects(results)
    if any("attaches_to" in one or one.get("type") in ("word", "punctuation") for one in rows):
        yield from turns(_speechmatics(rows))
    elif any("timestamps" in best for one in rows for best in objects(one.get("alternatives"))):
        yield from turns(_ibm(content, rows))
    else:
        yield from _google(rows)


def _deepgram(results: Object) -> Iterator[Segment]:
    channels = objects(results.get("channels"))
    for place, channel in enumerate(channels):
        for best in objects(channel.get("alternatives"))[:1]:
            words = [
                Word(str(first(one, "punctuated_word", "word") or ""), *span(one, "start", "end"),
                     name_of(place if len(channels) > 1 else one.get("speaker")))
                for one in objects(best.get("words"))
            ]  # fmt: skip
            yield from turns(words) if words else segment(None, None, best.get("transcript"))


def _aws(results: Object) -> Iterator[Segment]:
    labels, speakers = results.get("channel_labels"), dict[object, str | None]()
    for channel in objects(labels.get("channels")) if isinstance(labels, dict) else ():
        yield from turns(_items(objects(channel.get("items")), speakers, name_of(channel.get("channel_label"))))
    if isinstance(labels, dict):
        return
    labelled = results.get("speaker_labels")
    for part in objects(labelled.get("segments")) if isinstance(labelled, dict) else ():
        for item in objects(part.get("items")):
            speakers[str(item.get("start_time"))] = name_of(item.get("speaker_label"))
    yield from turns(_items(objects(results.get("items")), speakers, None))


def _items(items: Sequence[Object], speakers: Mapping[object, str | None], channel: str | None) -> Iterator[Word]:
    for item in items:
        for best in objects(item.get("alternatives"))[:1]:
            who = channel or name_of(item.get("speaker_label")) or speakers.get(str(item.get("start_time")))
            times = span(item, "start_time", "end_time")
            yield Word(str(best.get("content", "")), *times, who, item.get("type") == "punctuation")


def _google(rows: Sequence[Object]) -> Iterator[Segment]:
    """Read Google: where speakers are told apart, a last result repeats all words, and only it names them."""
    several = len({str(row.get("channelTag", row.get("channel_tag"))) for row in rows}) > 1
    words, plain, begun = list[Word](), list[Segment](), 0.0
    for row in rows:
        channel = name_of(first(row, "channelTag", "channel_tag")) if several else None
        ended = seconds(first(row, "resultEndTime", "resultEndOffset", "result_end_time", "result_end_offset"))
        for best in objects(row.get("alternatives"))[:1]:
            words += [_google_word(one, channel) for one in objects(best.get("words"))]
            plain += segment(begun, ended, best.get("transcript"), channel)
        begun = ended if ended is not None else begun
    named = list(dict.fromkeys(word for word in words if word.speaker)) or words
    named.sort(key=lambda word: word.start or 0.0)
    yield from turns(named) if named else plain


def _google_word(one: Object, channel: str | None) -> Word:
    start = seconds(first(one, "startTime", "startOffset", "start_time", "start_offset"))
    end = seconds(first(one, "endTime", "endOffset", "end_time", "end_offset"))
    tag = first(one, "speakerLabel", "speaker_label") or first(one, "speakerTag", "speaker_tag") or None
    return Word(str(one.get("word", "")), start or 0.0, end, channel or name_of(tag))


def _speechmatics(rows: Sequence[Object]) -> Iterator[Word]:
    for one in rows:
        for best in objects(one.get("alternatives"))[:1]:
            glued = one.get("type") == "punctuation" and one.get("attaches_to") in (None, "previous", "both")
            times = span(one, "start_time", "end_time")
            yield Word(str(best.get("content", "")), *times, name_of(best.get("speaker")), glued)


def _ibm(content: Object, rows: Sequence[Object]) -> Iterator[Word]:
    speakers = {seconds(one.get("from")): name_of(one.get("speaker")) for one in objects(content.get("speaker_labels"))}
    for row in rows:
        for best in objects(row.get("alternatives"))[:1]:
            times = best.get("timestamps")
            for one in times if isinstance(times, list) else ():
                if isinstance(one, list) and len(one) == 3:
                    start = seconds(one[1])
                    yield Word(str(one[0]), start, seconds(one[2]), speakers.get(start))


def _words(content: Object) -> Iterator[Segment]:
    rows = objects(content.get("words"))
    typed = any("type" in one for one in rows)
    per_second = 1000 if not typed and all(isinstance(one.get("start"), int) and "text" in one for one in rows) else 1
    yield from turns(
        Word(str(first(one, "text", "word") or "").strip(), *span(one, "start", "end", per_second),
             name_of(first(one, "speaker", "speaker_id")))
        for one in rows if one.get("type", "word") == "word"
    )  # fmt: skip


def _channels(content: Object) -> Iterator[Segment]:
    for one in objects(content.get("transcripts")):
        yield from (part.model_copy(update={"speaker": name_of(one.get("channel_index"))}) for part in _words(one))


WORD_READERS: Mapping[str, Callable[[Object], Iterator[Segment]]] = {
    "results": _results, "words": _words, "transcripts": _channels,
}  # fmt: skip
