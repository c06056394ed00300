"""Who speaks, where the text itself says it: `Anna: …`, `[SPEAKER_00]: …`, `(speaker 0) …`, `>> ANNA: …`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tuneline.data.text.recordings import Segment
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
    told = ((one, _CHANGE.sub("", one.text).strip()) for one in segments)
    said = ((one, text) for one, text in told if any(map(str.isalnum, text)) and not _NO_SPEECH.match(text))
    return [one if text == one.text else one.model_copy(update={"text": text}) for one, text in said]


def named(segments: Sequence[Segment]) -> list[Segment]:
    """Take speakers from the beginnings of texts, unless segments have some already."""
    told = None if any(one.speaker for one in segments) else names_in([one.text for one in segments])
    if told is None:
        return list(segments)
    return [
        one.model_copy(update={"speaker": speaker, "text": text})
        for one, (speaker, text) in zip(segments, told, strict=True)
    ]


def names_in(texts: Sequence[str], paragraphs: Sequence[bool] = ()) -> list[tuple[str | None, str]] | None:
    """Return who says each text, and what, if so many begin with a name that it is no colon by chance; else None.

    `paragraphs` says which of them begin one; a text may be wrapped, so that most of its lines begin in a sentence.
    """
    if len(texts) < 2:
        return None
    heads = [head_of(text) for text in texts]
    first = [head for head, begins in zip(heads, paragraphs, strict=False) if begins] if sum(paragraphs) > 1 else heads
    names = Counter(head[1].strip() for head in heads if head)
    by_chance = not all(first) and max(names.values(), default=0) < 2
    if by_chance or 2 * sum(map(bool, first)) < len(first):
        return None
    found, speaker = [], None
    for text, head in zip(texts, heads, strict=True):
        speaker = name_of(head[1]) if head else speaker  # a turn goes on in the next caption
        found.append((speaker, text[head.end() :] if head else text))
    return found
