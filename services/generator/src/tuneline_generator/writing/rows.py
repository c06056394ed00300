"""What becomes of an item: every item ends in exactly one status."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from tuneline.data.judged import Exchange, Transcript
from tuneline.data.verdicts import Verdict
from tuneline.stage import Json, Usage
from tuneline_generator.writing.items import Stream, id_of

Status = Literal[
    "failed", "refused", "blocked", "too_long", "unparsed", "empty", "leaks", "runaway", "cut", "echo", "bad_prompt",
    "duplicate", "near_duplicate", "overlaps", "unsure", "rejected", "kept", "spare",
]  # fmt: skip
"""The first that applies; `spare` is good, and beyond the count that was asked for."""

STATUSES: tuple[Status, ...] = get_args(Status)
LOST: frozenset[Status] = frozenset({"failed", "refused", "blocked", "too_long", "unparsed", "empty", "echo", "unsure"})
"""Without an answer of its own, or one that nobody could judge."""
JUDGED: frozenset[Status] = frozenset(
    {"duplicate", "near_duplicate", "overlaps", "unsure", "rejected", "kept", "spare"}
)
"""What a critic is asked about."""
NOTHING = Usage()
"""What most rows have: one for all of them, since thousands of rows are held."""


class Provenance(NamedTuple):
    """Where an item comes from; with the recipe and the models it can be made again."""

    stream: Stream
    item: int
    shots: tuple[int, ...]
    """Places of the examples that were shown."""
    seeds: Mapping[str, int]
    """By step."""
    prompts: Mapping[str, str]
    """Hash of what the writer was sent, by step."""

    def followed_by(self, step: str, seed: int, sent: str) -> Provenance:
        """Add a step."""
        return self._replace(seeds={**self.seeds, step: seed}, prompts={**self.prompts, step: sha256(sent)})

    def as_json(self) -> dict[str, Json]:
        return {**self._asdict(), "shots": list(self.shots), "seeds": {**self.seeds}, "prompts": {**self.prompts}}


@dataclass(frozen=True, slots=True)
class Row:
    """One item: what was written, and what became of it."""

    item: int
    """Its number, from 0, in its stream; everything random about it follows from this."""
    status: Status
    category: str = ""
    prompt: str = ""
    response: str = ""
    talk: tuple[Exchange, ...] = ()
    """The exchanges, where it is a conversation; `prompt` and `response` are then its first and last message."""
    detail: str = ""
    """Why it has this status; never a text of the row."""
    finish: str = ""
    """Why the response ended: stop, word, length or content_filter; empty without a response."""
    tokens: int = 0
    """Of the response."""
    accepted: bool | None = None
    """What the critic says; None if it was not asked, or is unsure."""
    margin: float | None = None
    """ln P(yes) - ln P(no) of the critic."""
    mass: float | None = None
    """P(yes) + P(no); None: the critic was not asked."""
    missing: Literal["", "yes", "no", "both"] = ""
    """What of them the critic's server did not list."""
    verdict: Verdict | None = None
    """What a judge found, where one decides."""
    usage: Usage = NOTHING
    """What the writer took."""
    critic_usage: Usage = NOTHING
    simulated: Usage = NOTHING
    """What its simulated user took."""
    how: Provenance | None = None

    @property
    def id(self) -> str:
        """The id of the transcript that it becomes, of a row to learn from."""
        return id_of("train", self.item)

    @property
    def transcript(self) -> Transcript:
        """What is learnt from it."""
        return Transcript(self.id, self.exchanges, persona=self.category)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        return self.talk or (Exchange(self.prompt, self.response),)

    @property
    def asked(self) -> str:
        """All that the user says: by it rows are compared."""
        return "\n".join(exchange.user for exchange in self.exchanges)

    @property
    def taken(self) -> Usage:
        """What everybody took who had to do with it."""
        return self.usage + self.critic_usage + self.simulated


def sha256(text: str) -> str:
    """Return the hash of a text, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def counted(rows: Iterable[Row]) -> dict[Status, int]:
    """Return how many rows have each status, 0 included. The counts add up to the rows."""
    found = Counter(row.status for row in rows)
    counts = {status: found[status] for status in STATUSES}
    assert sum(counts.values()) == found.total(), "an item has a status that nobody counts"
    return counts
