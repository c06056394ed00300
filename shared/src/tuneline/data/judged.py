"""The transcripts as they were judged: `transcripts.jsonl` of the assessor, which all later stages take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field

from tuneline.data.io import Closed, Id, read_lines, write_lines
from tuneline.data.transcripts import Exchange, Transcript


class JudgedExchange(Closed):
    """One user message and the assistant's answer."""

    user: str
    assistant: str


class JudgedTranscript(Closed):
    """One transcript after everything that was mended: a row of the assessor's transcripts.jsonl, sorted by id."""

    id: Id
    system: str | None = None
    persona: str | None = None
    exchanges: list[JudgedExchange] = Field(min_length=1)


def write_judged(path: Path, transcripts: Iterable[Transcript]) -> None:
    """Write the transcripts in their order."""
    write_lines(path, map(_to_row, transcripts))


def read_judged(path: Path) -> Iterator[Transcript]:
    """Yield the transcripts of a file. Raises UserError that names the first line and field at fault."""
    return map(_from_row, read_lines(path, JudgedTranscript))


def _to_row(transcript: Transcript) -> JudgedTranscript:
    optional = {"system": transcript.system, "persona": transcript.persona}
    return JudgedTranscript(
        id=transcript.id,
        **{name: text for name, text in optional.items() if text is not None},
        exchanges=[JudgedExchange(**exchange._asdict()) for exchange in transcript.exchanges],
    )


def _from_row(row: JudgedTranscript) -> Transcript:
    exchanges = tuple(Exchange(said.user, said.assistant) for said in row.exchanges)
    return Transcript(row.id, exchanges, row.system, row.persona)
