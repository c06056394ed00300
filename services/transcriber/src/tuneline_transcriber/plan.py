"""What a hosted recogniser will take, and how much sound there is; later stages learn how long everything is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from tuneline.data.io import file_sha256, read_row, write_lines
from tuneline.parsing.problems import printable
from tuneline.stage import Forecast, Journal, Plans, Usage, span
from tuneline_transcriber.expected import expected
from tuneline_transcriber.hearing.listening import VERSION, chunk_key, hosted_scope
from tuneline_transcriber.hearing.recogniser import Heard, HostedConfig, WhisperConfig, load_recogniser
from tuneline_transcriber.reading.references import Reference, read_folder
from tuneline_transcriber.stage import TranscriberParams

HEARD_TIMES = 20.0
"""As fast as one speaks, a server is taken to hear."""
CUT_S = 15
"""Seconds by which a chunk is shorter than it may be, about: it is cut where it is quiet."""
WHISPER_S = {1: (0.05, 0.10), 5: (0.07, 0.22)}
"""Seconds of one processor that tiny and base took for each second of speech, in 8 bits, by the beam."""


class Sound(NamedTuple):
    """A recording that is to be recognised."""

    reference: Reference
    seconds: float
    """By its header, 0 where that does not say."""


def plan_hearing(params: TranscriberParams, plans: Plans) -> Iterator[Forecast]:
    """Count the calls to a server, and write down how long documents and talks are, for the stages that follow."""
    config, references = plans.read("recogniser", load_recogniser), plans.read("references", read_folder)
    if config is None or not references:
        return
    try:
        rows = [expected(one, params, config).row for one in references]
    except ModuleNotFoundError:  # an image that reads no sound
        return
    write_lines(plans.preview("pairs"), rows)
    if bad := [row for row in rows if row.status != "ready"]:
        first = f"{printable(bad[0].pair)} first: {bad[0].status}"
        plans.warn("references", f"{len(bad):,} of {len(rows):,} cannot be used, {first}; `tuneline pairs` lists them")
    sounds = [
        Sound(one, row.seconds)
        for one, row in zip(references, rows, strict=True)
        if row.status == "ready" and one.audio and (one.transcript is None or params.measure_errors)
    ]
    channels = 2 if params.channels == "speakers" else 1
    if isinstance(config, HostedConfig) and sounds:
        yield _hosted(params, config, sounds, channels, plans)
    elif isinstance(config, WhisperConfig) and sounds:
        seconds = channels * sum(one.seconds for one in sounds)
        tiny, base = (each * seconds / params.threads for each in WHISPER_S[5 if config.beam > 1 else 1])
        plans.note(
            f"{seconds / 3600:.2f} hours of sound to recognise: about {span(tiny)} with a tiny Whisper and "
            f"{span(base)} with a base one on {params.threads} threads; larger ones take longer"
        )


def _hosted(
    params: TranscriberParams, config: HostedConfig, sounds: Sequence[Sound], channels: int, plans: Plans
) -> Forecast:
    """Return what a server takes: a call for each chunk and channel, paid by the minute."""
    journal = plans.journal("transcribe", VERSION, hosted_scope(config))
    minute = config.minute_usd if config.minute_usd is not None else 0.0 if config.is_local else None
    held, calls, seconds = Usage(), 0, 0.0
    for one in sounds:
        assert one.reference.audio
        sha256, chunks = file_sha256(one.reference.audio), _chunks(one, params)
        for channel in range(channels):
            keys = (chunk_key(sha256, params.chunk_seconds, channel, channels, number) for number in count())
            found = [*_kept(journal, keys)]
            held = sum((row.usage for row in found), start=held)
            missing = max(0, chunks - len(found))
            calls, seconds = calls + missing, seconds + one.seconds * missing / chunks
    usd = None if minute is None else minute * seconds / 60
    left = Usage(calls=calls, cost_usd=usd or 0.0, unpriced=calls if usd is None else 0)
    return Forecast("recogniser", config.model, held + left, held, usd, seconds / HEARD_TIMES / params.workers)


def _kept(journal: Journal, keys: Iterable[str]) -> Iterator[Heard]:
    """Yield the chunks of a channel that are heard already."""
    for key in keys:
        row = read_row(journal, key, Heard)
        if row is None:
            return
        yield row


def _chunks(one: Sound, params: TranscriberParams) -> int:
    """Return about how many chunks a recording has."""
    most = params.chunk_seconds
    return 1 if one.seconds <= most else math.ceil(one.seconds / (most - min(CUT_S, most / 4)))
