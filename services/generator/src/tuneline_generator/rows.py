"""What becomes of an item: every item ends in exactly one status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Status = Literal[
    "failed", "refused", "blocked", "too_long", "unparsed", "empty", "leaks", "runaway", "cut", "bad_prompt",
    "duplicate", "near_duplicate", "overlaps", "unsure", "rejected", "kept", "spare",
]  # fmt: skip
"""The first that applies; `spare` is good, and beyond the count that was asked for."""

STATUSES: tuple[Status, ...] = get_args(Status)
LOST: frozenset[Status] = frozenset({"failed", "refused", "blocked", "too_long", "unparsed", "unsure"})
JUDGED: frozenset[Status] = frozenset(
    {"duplicate", "near_duplicate", "overlaps", "unsure", "rejected", "kept", "spare"}
)
"""What a critic is asked about."""


@dataclass(frozen=True)
class Row:
    """One item: what was written, and what became of it."""

    item: int
    """Its number, from 0, in its stream; everything random about it follows from this."""
    status: Status
    category: str = ""
    prompt: str = ""
    response: str = ""
    detail: str = ""
    """Why it has this status; never a text of the row."""
    finish: str = ""
    """Why the response ended: stop, word, length or content_filter; empty without a response."""
    tokens: int = 0
    """Of the response."""
    accepted: bool | None = None
    """What the critic says; None if it was not asked, or is unsure."""
    margin: float | None = None
    mass: float | None = None
    cost_usd: float = 0.0
    seconds: float = 0.0
    provenance: Mapping[str, object] = field(default_factory=dict)


def counted(rows: Iterable[Row]) -> dict[Status, int]:
    """Return how many rows have each status, 0 included. The counts add up to the rows."""
    found = Counter(row.status for row in rows)
    counts = {status: found[status] for status in STATUSES}
    assert sum(counts.values()) == found.total(), "an item has a status that nobody counts"
    return counts
