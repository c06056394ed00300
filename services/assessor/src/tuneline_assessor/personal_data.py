"""Looks for personal data in what is to be judged, before anything leaves the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from tuneline.data.pii.finder import PiiFinder, redact, redact_id
from tuneline.data.transcripts import ReadTranscripts, Transcript
from tuneline.errors import UserError
from tuneline.parsing.problems import listed, printable
from tuneline.stage import Json, Memory
from tuneline_assessor.stage import AssessorParams


class Screened(NamedTuple):
    """The transcripts to judge, and how often each kind of personal data was found in them."""

    transcripts: list[Transcript]
    counts: dict[str, Json]
    note: str
    """For the headline; empty if nobody looked."""
    shown: Callable[[str], str] = str
    """What stands for an id in whatever is written."""


def screen(read: ReadTranscripts, params: AssessorParams, memory: Memory) -> Screened:
    """Leave out what was forgotten, and do about personal data what `pii` says. Writes nothing.

    Raises UserError that lists places, ids and kinds if it says `refuse`, or if nothing is left.
    """
    found = _look(_remembered(read.transcripts, memory), params, read.places)
    kept = _remembered(found.transcripts, memory)
    if not kept:
        raise UserError("All transcripts were forgotten (`tuneline forget`), so there is nothing to judge.")
    if len(kept) == len(read.transcripts):
        return found
    left_out = len(read.transcripts) - len(kept)
    note = "; ".join(filter(None, (f"{left_out} forgotten", found.note)))
    return Screened(kept, found.counts | {"forgotten": left_out}, note, found.shown)


def _remembered(transcripts: Sequence[Transcript], memory: Memory) -> list[Transcript]:
    return [transcript for transcript in transcripts if not memory.is_forgotten(transcript.id, transcript.sha256)]


def _look(transcripts: Sequence[Transcript], params: AssessorParams, places: Mapping[str, str]) -> Screened:
    if params.pii == "off":
        return Screened(list(transcripts), {}, "")
    finder = PiiFinder(params.pii_regions, params.pii_model)
    screened = [redact(transcript, finder) for transcript in transcripts]
    found = {s.transcript.id: s.counts for s in screened if s.counts}
    if found and params.pii == "refuse":
        lines = [
            f"{places[one.id]}: {printable(seen.transcript.id)}: {_kinds(seen.counts)}"
            for one, seen in zip(transcripts, screened, strict=True)
            if seen.counts
        ]
        raise UserError("\n".join(_refusal(lines, len(transcripts))))
    total = sum(found.values(), Counter[str]())
    names = "" if params.pii_model else "; names are not looked for without `pii_model`"
    kinds = _kinds(total) or "none found"
    redacted = params.pii == "redact"
    note = "personal data" + (" redacted" if redacted and total else " found" if total else "")
    kept = sorted((s.transcript for s in screened), key=lambda t: t.id) if redacted else list(transcripts)
    counts: dict[str, Json] = {"pii": dict(sorted(total.items())), "pii_transcripts": len(found)}
    shown = partial(redact_id, finder=finder) if redacted else str
    return Screened(kept, counts, f"{note}: {kinds}{names}", shown)


def _kinds(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _refusal(lines: Sequence[str], count: int) -> list[str]:
    head = f"{len(lines)} of {count} transcripts hold personal data, and `pii` is `refuse`:"
    return [head, *listed(lines), "Remove them, or replace what was found with `pii: redact`."]
