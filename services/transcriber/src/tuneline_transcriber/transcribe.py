"""Transcribes recordings, and reads the documents that they are about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import fmean

from tuneline.data.io import write_lines
from tuneline.data.text.recordings import PairRow, Segment, TalkRow
from tuneline.data.text.words import word_count
from tuneline.errors import UserError
from tuneline.llm.limits import ended
from tuneline.parsing.problems import listed, printable
from tuneline.stage import Context, Cost, Metrics, Spent, Usage
from tuneline_transcriber.conversation import CallRow, call_of, word_error_rate
from tuneline_transcriber.expected import expected
from tuneline_transcriber.hearing.listening import Ear, Listened, open_ear
from tuneline_transcriber.hearing.recogniser import HostedConfig, load_recogniser
from tuneline_transcriber.reading.references import Reference, read_folder
from tuneline_transcriber.stage import TranscriberInputs, TranscriberOutputs, TranscriberParams

LEAST_LOGPROB = -1.0
"""Mean log probability of a recording below which its text is a guess."""
MOST_NO_SPEECH = 0.8
LEAST_WORDS_A_MINUTE = 20.0
"""Of a whole recording: with fewer words, it is no talk."""


def transcribe(
    params: TranscriberParams, inputs: TranscriberInputs, outputs: TranscriberOutputs, context: Context
) -> Metrics:
    """Transcribe the recordings. Raises UserError for what cannot be used, Temporary when stopped or out of luck."""
    references, config = read_folder(inputs.references), load_recogniser(inputs.recogniser)
    known = {one.name: expected(one, params, config) for one in references}
    _refuse([one.row for one in known.values() if one.row.status != "ready"], params, len(references))
    with ExitStack() as stack:
        ear = open_ear(params, inputs, config, context, stack)
        heard = _hear_all([one for one in references if known[one.name].row.status == "ready"], ear, context)
    rows = [_row(known[one.name].row, heard.get(one.name)) for one in references]
    _refuse([row for row in rows if row.status != "ready"], params, len(references))
    talks = [_talk(row.pair, heard[row.pair].segments) for row in rows if row.status == "ready"]
    calls = list(_calls(talks, params.assistant))
    for one in references:
        found = known[one.name].document
        if found or (one.source is None and not params.require_source):
            text = f"{found.text}\n" if found else ""  # of a call that stands alone
            (outputs.sources / f"{one.name}.txt").write_text(text, encoding="utf-8", newline="\n")
    write_lines(outputs.pairs, rows)
    write_lines(outputs.talks, talks)
    write_lines(outputs.transcripts, calls)
    model = config.model if isinstance(config, HostedConfig) else ear.engine
    return _metrics(rows, calls, heard.values(), Spent(role="recogniser", model=model, total=sum(
        (one.usage for one in heard.values()), start=Usage()), now=ear.paid))  # fmt: skip


def _refuse(bad: Sequence[PairRow], params: TranscriberParams, count: int) -> None:
    """Raise UserError for references that cannot be used, if they stop the stage."""
    shown = listed([f"{printable(row.pair)}: {row.status}: {row.detail}" for row in bad])
    if bad and params.on_bad == "fail":
        head = f"{len(bad):,} of {count:,} references cannot be used; `on_bad: skip` goes on without them:"
        raise UserError("\n".join([head, *shown]))
    if count - len(bad) < params.min_pairs:
        head = f"{count - len(bad):,} of {count:,} references can be used, and `min_pairs` is {params.min_pairs:,}:"
        raise UserError("\n".join([head, *shown]))


def _hear_all(references: Sequence[Reference], ear: Ear, context: Context) -> dict[str, Listened]:
    found: dict[str, Listened] = {}
    pool = ThreadPoolExecutor(ear.workers, thread_name_prefix="transcriber")

    def safe_point() -> None:
        context.progress(len(found), len(references))

    try:
        for one, future in ended(references, lambda one: pool.submit(ear.listen, one), ear.workers, safe_point):
            found[one.name] = future.result()
    finally:
        ear.stop()  # a recording of hours ends with its chunk
        pool.shutdown(cancel_futures=True)
    return found


def _row(row: PairRow, heard: Listened | None) -> PairRow:
    """Return the row of a reference with what was heard, if anything was."""
    if heard is None:
        return row
    known = [s.avg_logprob for s in heard.segments if s.avg_logprob is not None]
    status, detail = heard.problem or _doubt(heard)
    return PairRow.model_validate({
        **row.model_dump(), "status": status, "detail": detail, "audio_sha256": heard.sha256 or None,
        "seconds": round(heard.seconds, 3), "language": heard.language, "engine": heard.engine,
        "confidence": round(math.exp(min(0.0, fmean(known))), 4) if known else None,
        "word_error_rate": word_error_rate(heard.given, heard.recognised),
    })  # fmt: skip


def _doubt(heard: Listened) -> tuple[str, str]:
    """Return the status of what was heard, and why."""
    words = sum(word_count(one.text) for one in heard.segments)
    quiet = [one.no_speech for one in heard.segments if one.no_speech is not None]
    known = [one.avg_logprob for one in heard.segments if one.avg_logprob is not None]
    if not words or (quiet and fmean(quiet) > MOST_NO_SPEECH) or words * 60 < LEAST_WORDS_A_MINUTE * heard.seconds:
        return "no_speech", f"{words} words in {heard.seconds:,.0f} s: nobody talks in it"
    if known and fmean(known) < LEAST_LOGPROB:
        return "unsure", f"mean log probability {fmean(known):.2f}: its text is a guess; is the language right?"
    return "ready", ""


def _talk(name: str, segments: list[Segment]) -> TalkRow:
    seconds = max(one.end for one in segments) - segments[0].start
    words = sum(word_count(one.text) for one in segments)
    return TalkRow(pair=name, segments=segments, words_a_minute=round(60 * words / seconds, 2) if seconds > 0 else 0.0)


def _calls(talks: Sequence[TalkRow], assistant: str | None) -> Iterator[CallRow]:
    for talk in talks:
        call = call_of(talk.pair, talk.segments, assistant) if assistant else None
        if call:
            yield call


def _metrics(rows: Sequence[PairRow], calls: Sequence[CallRow], heard: object, spent: Spent) -> Metrics:
    hours = sum(row.seconds for row in rows) / 3600
    rates = [row.word_error_rate for row in rows if row.word_error_rate is not None]
    ready = sum(row.status == "ready" for row in rows)
    counts = {f"pairs_{status}": number for status, number in sorted(Counter(row.status for row in rows).items())}
    extra = {"word_error_rate": round(fmean(rates), 4)} if rates else {}
    return Metrics(
        headline=f"{ready:,} of {len(rows):,} references are ready, {hours:.2f} hours of sound"
        + (f", {len(calls):,} conversations" if calls else ""),
        counts={"pairs": len(rows), **counts, "audio_hours": round(hours, 4), "conversations": len(calls), **extra},
        cost=Cost.of(spent),
    )
