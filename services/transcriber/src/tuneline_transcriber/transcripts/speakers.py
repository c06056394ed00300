"""Who speaks, where the text itself says it: `Anna: …`, `[SPEAKER_00]: …`, `(speaker 0) …`, `>> ANNA: …`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tuneline_transcriber.reading.rows import Segment
from tuneline_transcriber.transcripts.json_values import name_of

_CHANGE = re.compile(r"^>>+\s*")
_HEADS = (
    re.compile(r"^\[([^\]\n]{1,60})\]:?\s+(?=\S)"),
    re.compile(r"^\(speaker ([^)\n]{1,20})\):?\s*(?=\S)", re.IGNORECASE),
    re.compile(r"^([^\W_][^:\n]{0,40}?):(?:\s+(?=\S)|\s*$)"),
)
_NO_SPEECH = re.compile(r"^\s*(?:[\[(*♪][^\])]{0,80}[\])*♪]\s*)+$")
"""`[Music]`, `(applause)`, `♪ … ♪`, `[BLANK_AUDIO]`: what is heard, and not said."""


def head_of(text: str) -> re.Match[str] | None:
    """Return the name at the beginning of a text, as group 1, with all that stands before what is said."""
    return next((found for head in _HEADS if (found := head.match(text))), None)


def spoken(segments: Iterable[Segment]) -> list[Segment]:
    """Leave out what is no speech, and marks that only say that somebody else begins."""
    told = (one.model_copy(update={"text": _CHANGE.sub("", one.text).strip()}) for one in segments)
    return [one for one in told if any(map(str.isalnum, one.text)) and not _NO_SPEECH.match(one.text)]


def named(segments: Sequence[Segment], paragraphs: Sequence[bool] = ()) -> list[Segment]:
    """Take speakers from the beginnings of texts, if so many begin with a name that it is no colon by chance.

    `paragraphs` says which of them begin one; a text may be wrapped, so that most of its lines begin in a sentence.
    """
    if any(one.speaker for one in segments) or len(segments) < 2:
        return list(segments)
    heads = [head_of(one.text) for one in segments]
    first = [head for head, begins in zip(heads, paragraphs, strict=False) if begins] if sum(paragraphs) > 1 else heads
    names = Counter(head[1].strip() for head in heads if head)
    by_chance = not all(first) and max(names.values(), default=0) < 2
    if by_chance or 2 * sum(map(bool, first)) < len(first):
        return list(segments)
    found, speaker = [], None
    for one, head in zip(segments, heads, strict=True):
        speaker = name_of(head[1]) if head else speaker  # a turn goes on in the next caption
        text = one.text[head.end() :] if head else one.text
        found.append(one.model_copy(update={"speaker": speaker, "text": text}))
    return found
