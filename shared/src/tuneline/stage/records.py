"""Records, and the shares into which a stage's work may be cut."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Json: TypeAlias = JsonValue


class Closed(BaseModel):
    """Part of a record: frozen, without unknown keys and infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class InputRecord(Closed):
    """One input as a run used it. `uri` is None for inline content; `producer` is `stage/fingerprint` of its maker."""

    uri: str | None
    sha256: str
    size: int = Field(ge=0, lt=1 << 63)
    count: int
    producer: str | None = None


class Maker(Closed):
    """The result that an input comes from."""

    stage: str
    version: int
    fingerprint: str
    manifest_sha256: str
    params: dict[str, Json]
    """Resolved."""
    inputs: dict[str, InputRecord]
    headline: str
    counts: dict[str, Json]
    commit: str | None
    """Of the source that made it, as far as it is known."""
    finished_at: str
    forgotten: int
    """Transcripts that it was made with and that were forgotten since."""


class Part(NamedTuple):
    """One of several shares of a stage's work: number `number`, from 1, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, text: str) -> Part | None:
        """Read `3-of-10` or `3/10`; None for anything else."""
        found = re.fullmatch("([0-9]{1,6})(?:-of-|/)([0-9]{1,6})", text)
        part = cls(int(found[1]), int(found[2])) if found else None
        return part if part and 1 <= part.number <= part.of else None

    def has(self, item: str) -> bool:
        """Tell whether an item belongs to this part; it does to exactly one, whatever other items there are."""
        return int.from_bytes(hashlib.sha256(item.encode()).digest()[:8], "big") % self.of == self.number - 1

    def share(self, count: int) -> range:
        """Return the places, of `count` items in order, that belong to this part."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)
