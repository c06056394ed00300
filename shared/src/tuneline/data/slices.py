"""What the slicer leaves behind: the training examples of `slices.jsonl`, and `slices.stats.json` about them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuneline.data.conversations import Said
from tuneline.data.io import Closed, Id
from tuneline.data.judged import Generated

Split = Literal["train", "validation"]


class Message(Said):
    """One message of a slice."""

    learn: bool = True
    """False for an answer that is context only: a greeting, or one that the transcript marks so."""


class Encoding(Closed):
    """A slice as the model sees it, so that the trainer need not encode it while it holds a GPU."""

    by: str
    """The fingerprint of the tokenizer and chat template that were there."""
    found_by: str
    """How the answers were told apart."""
    ids: list[int] | None = None
    """Token ids; without them they are the first ones of the longest slice that begins at the same exchange."""
    answers: list[tuple[int, int]]
    """Where each answer begins in them, and ends."""


class Slice(Closed):
    """One training example: a row of slices.jsonl. Its last message is the answer that it teaches."""

    id: Id
    transcript: Id
    point: int
    """Exchanges of the transcript up to that answer."""
    dropped: int
    """The oldest of them, left out because there was no room."""
    split: Split
    tokens: int
    """As the trained model counts them, chat template included."""
    planning_tokens: int
    """Those of the texts alone, as cl100k_base counts."""
    messages: list[Message] = Field(min_length=1)
    encoding: Encoding | None = None

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as a chat template takes them."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


class Side(Closed):
    """What went into training, or into validation."""

    transcripts: int
    slices: int
    tokens: int


class Spread(Closed):
    """A sum and its parts."""

    total: int
    min: int
    mean: float
    max: int


class TokenSpread(Spread):
    """Tokens of slices: `total` is what one epoch reads, `unique` what it would read with every message once."""

    unique: int


class Truncated(Closed):
    """Slices that lost their oldest exchanges to the limit of tokens."""

    slices: int
    exchanges: int
    most: int


class PersonaCount(Closed):
    """Personas of the transcripts before and after."""

    read: int
    kept: int
    lost: list[str]


class GeneratedCount(Closed):
    """Transcripts that a model wrote alike."""

    how: Generated
    transcripts: int


class SliceStats(Closed):
    """slices.stats.json. It depends on the data and parameters alone, never on time or place."""

    transcripts: int
    """Those that were judged; `passed` of them passed the rubric, and `sliced` of these gave slices."""
    passed: int
    sliced: int
    slices: int
    train: int
    validation: int
    rejected: dict[str, int]
    """Slice points that gave no slice, by kind."""
    rejected_transcripts: dict[str, int]
    splits: dict[Split, Side]
    slices_per_transcript: Spread
    max_tokens: int
    tokens: TokenSpread
    planning_tokens: TokenSpread
    planning_tokens_per_transcript: Spread
    truncated: Truncated
    near_duplicates: list[list[str]]
    """Groups of transcripts that are nearly the same."""
    personas: PersonaCount
    generated: list[GeneratedCount] = Field(default=[])
    """Those of `sliced` that a model wrote."""
