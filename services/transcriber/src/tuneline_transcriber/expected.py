"""What is known of a reference before anything is heard, and paid for."""

from __future__ import annotations

from typing import NamedTuple

from tuneline.data.text.recordings import PairRow, Status
from tuneline_transcriber.hearing.decoding import seconds_of
from tuneline_transcriber.hearing.recogniser import Config, GivenConfig
from tuneline_transcriber.reading.documents import Document, Unusable, read_document
from tuneline_transcriber.reading.references import Reference
from tuneline_transcriber.stage import TranscriberParams
from tuneline_transcriber.transcripts.given_transcripts import read_given


class Expected(NamedTuple):
    """The row of a reference as far as it is known, and the text of its document, None where it has none of use."""

    row: PairRow
    document: Document | None


def expected(one: Reference, params: TranscriberParams, config: Config) -> Expected:
    """Look at the files of a reference; one that cannot be used has the status and the words that say why."""
    row = PairRow(pair=one.name, status="ready")
    if one.audio is None and one.transcript is None:
        return _useless(row, "no_audio", "no recording of this name (.mp3, .wav, .m4a, .mp4 and the like) is there")
    if one.source is None and params.require_source:
        missing = "no document of this name is there; recordings alone need `require_source: false`"
        return _useless(row, "no_source", missing)
    document = None
    try:
        if one.source is not None:
            document = read_document(one.source)
            about = {"source_sha256": document.sha256, "pages": document.pages, "words": document.words}
            row = row.model_copy(update=about)
    except Unusable as e:
        return _useless(row, "unreadable_source", str(e))
    status: Status = "unreadable_transcript"
    try:
        given = read_given(one.transcript) if one.transcript else None
        seconds = max(segment.end for segment in given.alone()) if given and one.audio is None else 0.0
        status = "unreadable_audio"
        seconds = seconds_of(one.audio) if one.audio else seconds
    except Unusable as e:
        return _useless(row, e.status or status, str(e), document)
    if given is None and isinstance(config, GivenConfig):
        return _useless(row, "failed", "no transcript of this name is there, and nothing recognises", document)
    return Expected(row.model_copy(update={"seconds": round(seconds, 3)}), document)


def _useless(row: PairRow, status: Status, why: str, document: Document | None = None) -> Expected:
    return Expected(row.model_copy(update={"status": status, "detail": why}), document)
