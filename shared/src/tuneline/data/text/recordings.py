"""What is said in recordings: the rows that the stage transcriber writes, and that others read or write themselves.

A row of one's own may have more fields; only those that are named here are read.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from tuneline.data.io import Closed, Id

Status = Literal[
    "ready", "no_source", "no_audio", "unreadable_source", "unreadable_audio", "unreadable_transcript", "no_speech",
    "unsure", "too_long", "failed",
]  # fmt: skip
"""`unsure`: the recogniser's mean log probability is below -1; `failed`: the server takes this recording not at all."""


class Row(Closed):
    """A row of which only some fields may be needed."""

    model_config = ConfigDict(extra="ignore")


class PairRow(Row):
    """A reference, and what became of it: a line of pairs.jsonl."""

    pair: Id
    status: Status
    detail: str = ""
    """Why it cannot be used, in words that quote nothing."""
    source_sha256: str | None = None
    audio_sha256: str | None = None
    pages: int = 0
    """Of the document; 0 where there is none."""
    words: int = 0
    """Of the document."""
    seconds: float = 0.0
    """Of the recording."""
    language: str | None = None
    """As the recogniser hears it, or as it was told."""
    confidence: float | None = None
    """Mean probability of the recognised words' tokens, exp(mean log probability); None where nobody says."""
    engine: str | None = None
    """What the text of the recording is from: `faster-whisper`, `openai`, or `given`."""
    word_error_rate: float | None = None
    """Of the recogniser, against the given transcript: edits per word of it."""


class Segment(Row):
    """Some seconds of a recording, from its beginning on."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    text: str
    avg_logprob: float | None = None
    """Mean natural logarithm of the tokens' probabilities."""
    no_speech: float | None = None
    """Probability that nobody speaks."""
    speaker: str | None = None


class TalkRow(Row):
    """A recording that can be used: a line of talks.jsonl."""

    pair: Id
    segments: list[Segment]
    words_a_minute: float = 0.0
    """From the first word to the last; 0 where nobody counted."""
