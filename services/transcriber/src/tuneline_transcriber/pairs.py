"""A look at a folder of references: what belongs together, how long it is, what is missing. It reads only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuneline.parsing.problems import printable
from tuneline_transcriber.hearing.decoding import seconds_of
from tuneline_transcriber.reading.documents import Document, Unusable, read_document
from tuneline_transcriber.reading.references import Reference, read_folder
from tuneline_transcriber.transcripts.given_transcripts import read_given


def pair_lines(folder: Path) -> Iterator[str]:
    """Yield a line for each reference in a folder. Raises UserError."""
    references, bad = read_folder(folder), 0
    for one in references:
        parts, problems = [], []
        for part in (_document, _recording, _transcript):
            text, problem = part(one)
            parts.append(text)
            problems += [problem] if problem else []
        bad += bool(problems)
        wrong = f" — {'; '.join(problems)}" if problems else ""
        yield f"{printable(one.name)}: {', '.join(filter(None, parts))}{wrong}"
    yield f"whole: {len(references) - bad:,} of {len(references):,}"


def _document(one: Reference) -> tuple[str, str]:
    if one.source is None:
        return "", "no document"
    name = printable(one.source.name)
    try:
        found: Document = read_document(one.source)
    except Unusable as e:
        return name, str(e)
    pages, words = "page" if found.pages == 1 else "pages", "word" if found.words == 1 else "words"
    return f"{name} ({found.pages} {pages}, {found.words:,} {words})", ""


def _recording(one: Reference) -> tuple[str, str]:
    if one.audio is None:
        return "", "" if one.transcript else "no recording"
    name = printable(one.audio.name)
    try:
        seconds = seconds_of(one.audio)
    except Unusable as e:
        return name, str(e)
    return f"{name} ({int(seconds) // 60}:{int(seconds) % 60:02d})" if seconds else name, ""


def _transcript(one: Reference) -> tuple[str, str]:
    if one.transcript is None:
        return "", ""
    try:
        found = read_given(one.transcript)
    except Unusable as e:
        return printable(one.transcript.name), str(e)
    if one.audio is None and not found.timed:
        return printable(one.transcript.name), "no recording"
    speakers = len({segment.speaker for segment in found.segments if segment.speaker})
    return f"{printable(one.transcript.name)}{f' ({speakers} speakers)' if speakers else ''}", ""
