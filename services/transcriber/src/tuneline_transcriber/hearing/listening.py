"""What is said in one recording: chunk by chunk from the journal or the recogniser, or as a given transcript says."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import NamedTuple

from tuneline.data.io import file_sha256, read_row
from tuneline.data.text.recordings import Segment
from tuneline.errors import LlmRejected, Stopped, UserError
from tuneline.stage import Context, Usage
from tuneline_transcriber.hearing.audio import Chunk, chunks_of
from tuneline_transcriber.hearing.conversion import converted, is_foreign
from tuneline_transcriber.hearing.recogniser import Config, GivenConfig, Heard, HostedConfig, Recogniser, find_weights
from tuneline_transcriber.reading.documents import Unusable
from tuneline_transcriber.reading.references import Reference
from tuneline_transcriber.stage import TranscriberInputs, TranscriberParams
from tuneline_transcriber.transcripts.given_transcripts import GivenTranscript, read_given

VERSION = "1"
"""Part of the journal's scope: raise it when the same sound would be heard otherwise."""

_LATE_S = 10.0
"""Seconds after the end of a recording in which a transcript may still begin a turn."""


class Listened(NamedTuple):
    """What is said in a recording, or why nobody can say it."""

    sha256: str
    """Of the recording; empty where there is only its transcript."""
    seconds: float = 0.0
    segments: list[Segment] = []  # noqa: RUF012  (never changed)
    language: str | None = None
    engine: str | None = None
    given: str = ""
    """Text of the given transcript, empty without one."""
    recognised: str | None = None
    """What the recogniser heard; None if it was not asked."""
    usage: Usage = Usage()
    problem: tuple[str, str] | None = None
    """Status and detail."""


class Ear:
    """Listens to recordings. Safe for threads."""

    def __init__(
        self, params: TranscriberParams, config: Config, recogniser: Recogniser | None, context: Context, scope: str
    ) -> None:
        self._params, self._recogniser = params, recogniser
        self.engine, self.workers, self.paid = config.provider, params.workers, Usage()
        self._journal = context.journal("transcribe", VERSION, scope)
        self._stopped, self._lock = Event(), Lock()

    def stop(self) -> None:
        """Let every recording end with the chunk that is heard now."""
        self._stopped.set()

    def listen(self, one: Reference) -> Listened:
        """Return what is said in a reference of which that is expected. Raises as the recogniser does."""
        heard = Listened(file_sha256(one.audio) if one.audio else "")
        given = read_given(one.transcript) if one.transcript else None
        if given and one.audio is None:
            return _told(heard, given)
        try:
            heard = self._hear(one, heard, recognise=given is None or self._params.measure_errors)
        except LlmRejected as e:
            return heard._replace(problem=("too_long" if e.kind == "too_long" else "failed", str(e)))
        except Unusable as e:
            return heard._replace(problem=(e.status or "unreadable_audio", str(e)))
        return _with_given(heard, given) if given and not heard.problem else heard

    def _hear(self, one: Reference, heard: Listened, *, recognise: bool) -> Listened:
        assert one.audio is not None
        params, segments, usage, language, seconds = self._params, list[Segment](), Usage(), heard.language, 0.0
        channels = 2 if params.channels == "speakers" and recognise else 1
        for chunk in chunks_of(one.audio, params.chunk_seconds, params.max_hours, channels):
            if self._stopped.is_set():
                raise Stopped("stopped between two chunks of a recording")
            seconds = max(seconds, chunk.start + chunk.seconds)
            if recognise and self._recogniser:
                row = self._chunk(heard.sha256, chunk, language, channels)
                language, usage = language or row.language, usage + row.usage
                segments += [_moved(s, chunk, channels) for s in row.segments]
        segments.sort(key=lambda s: (s.start, s.speaker or ""))
        said = " ".join(s.text for s in segments) if recognise else None
        return heard._replace(
            seconds=seconds, segments=segments, language=language, engine=self.engine, recognised=said, usage=usage
        )

    def _chunk(self, sha256: str, chunk: Chunk, language: str | None, channels: int) -> Heard:
        assert self._recogniser
        key = chunk_key(sha256, self._params.chunk_seconds, chunk.channel, channels, chunk.number)
        row = read_row(self._journal, key, Heard)
        if row is None:
            heard = self._recogniser.hear(chunk, language).model_dump(mode="json")
            self._journal.put(key, heard)
            row = Heard.model_validate(heard)  # as the next run reads it: what is written is the same
            with self._lock:
                self.paid += row.usage
        return row


def chunk_key(sha256: str, chunk_seconds: int, channel: int, channels: int, number: int) -> str:
    """Return under which key the journal has a chunk of a channel; both are counted from 0."""
    return f"{sha256}/{chunk_seconds}/{channel + 1}-of-{channels}/{number}"


def hosted_scope(config: HostedConfig) -> str:
    """Return the scope of the journal of what a server has heard."""
    return json.dumps(config.identity, sort_keys=True)


def open_ear(
    params: TranscriberParams, inputs: TranscriberInputs, config: Config, context: Context, stack: ExitStack
) -> Ear:
    """Load what recognises. Raises UserError where it cannot be."""
    if isinstance(config, GivenConfig):
        if params.measure_errors:
            raise UserError("`measure_errors`: nothing is recognised with the recogniser `given`")
        return Ear(params, config, None, context, "given")
    if isinstance(config, HostedConfig):
        from tuneline_transcriber.hearing.hosted import Hosted

        account = context.account("recogniser", config.model)
        hosted = stack.enter_context(Hosted(config, context.secret, params.timeout_s, params.workers, account))
        return Ear(params, config, hosted, context, hosted_scope(config))
    from tuneline_transcriber.hearing.whisper import Whisper

    weights, record = _weights(inputs.speech_model, context, stack), context.lineage.get("speech_model")
    known = [
        record.sha256 if record else file_sha256(weights / "model.bin"),
        params.vad,
        config.model_dump(mode="json"),
    ]
    whisper = Whisper(config, weights, params.threads, params.workers, params.vad)
    return Ear(params, config, whisper, context, json.dumps(known, sort_keys=True))


def _weights(given: Path | None, context: Context, stack: ExitStack) -> Path:
    """Return the weights of Whisper, converted if need be. Raises UserError."""
    context.tell("loading the model")
    if given is None or not is_foreign(given):
        return find_weights(given)
    dest = Path(stack.enter_context(TemporaryDirectory(prefix="whisper-")))
    return find_weights(converted(given, dest))


def _told(heard: Listened, given: GivenTranscript) -> Listened:
    """Return what a transcript says whose recording is not there."""
    segments = given.alone()
    return heard._replace(seconds=max(one.end for one in segments), segments=segments, engine="given", given=given.text)


def _with_given(heard: Listened, given: GivenTranscript) -> Listened:
    last = given.segments[-1].start
    if given.timed and last > heard.seconds + _LATE_S:
        detail = (
            f"the transcript begins its last turn at {last:,.0f} s, the recording ends at {heard.seconds:,.0f} s: it "
            "is of another one, or its times are those of a clock; then take the times or the recording away"
        )
        return heard._replace(problem=("unreadable_transcript", detail))
    return heard._replace(segments=given.spread(heard.seconds), engine="given", given=given.text)


def _moved(segment: Segment, chunk: Chunk, channels: int) -> Segment:
    """Return a segment with its place in the recording."""
    times = {"start": round(segment.start + chunk.start, 3), "end": round(segment.end + chunk.start, 3)}
    return segment.model_copy(update={**times, **({"speaker": str(chunk.channel + 1)} if channels == 2 else {})})
