"""What the journal holds of batches, so that a run that was killed finds them again and pays once.

What is in which batch is written before the batch is handed in, and its id after that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from tuneline.llm.config import ModelConfig
from tuneline.llm.providers.provider import Request
from tuneline.stage import Journal

log = structlog.get_logger()


def request_id(config: ModelConfig, request: Request) -> str:
    """Return what identifies a request: 32 hex digits."""
    content = [config.provider, config.identity, [dict(m) for m in request.messages], request.schema, request.seed]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


class Row(BaseModel):
    """A row of the journal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    """The batch; of a request, the one that it is in."""
    requests: list[str] = []
    """Of a batch: its requests, in order."""
    id: str | None = None
    at: float = 0.0
    about: str = ""
    """Of a request: hash of the transcript that it asks about, by which `forget` finds the row."""
    failed: bool = False
    """Of a batch: the vendor did not take it."""
    cancelled: bool = False
    """Of a batch: somebody ended it at the vendor's, and that was said."""
    counted: bool = False
    """Of a batch: what it took is in the ledger of the run that saw its end."""


class Batch(NamedTuple):
    """A batch that is out."""

    id: str
    name: str
    row: Row


class Kept:
    """The rows of requests and batches."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def about_to_hand_in(self, name: str, row: Row, piece: Mapping[str, Request]) -> None:
        """Note what will be in a batch."""
        self._journal.put(name, row.model_dump())
        for key, request in piece.items():
            self._journal.put(self._key(key), Row(name=name, about=request.about).model_dump())

    def note(
        self, batch: Batch, *, failed: bool = False, cancelled: bool = False, counted: bool = False
    ) -> None:  # fmt: skip
        """Note what is known of a batch."""
        changed = {"id": batch.id, "failed": failed, "cancelled": cancelled, "counted": counted}
        self._journal.put(batch.name, batch.row.model_copy(update=changed).model_dump())

    def read(self, request: str, about: str) -> None:
        """Note that an answer has been read: who asks the same again was not content, and wants another one."""
        self._journal.put(f"{self._key(request)} read", {"about": about})

    def batches(self, requests: Iterable[str]) -> dict[str, Row]:
        """Return the batches of earlier runs that hold some of the requests, by name."""
        names = dict.fromkeys(row.name for request in requests if (row := self._row(self._key(request))))
        rows = {name: row for name in names if (row := self._row(name))}
        return {name: row for name, row in rows.items() if not row.failed}

    def is_in(self, request: str, name: str) -> bool:
        """Tell whether a request still waits for what the batch of a name says; it may be in a later one."""
        row = self._row(self._key(request))
        return row is not None and row.name == name

    def _key(self, request: str) -> str:
        """Return the key of a request's row; each time that its answer was read, there is another one."""
        key, times = request, 0
        while self._journal.get(f"{key} read") is not None:
            times += 1
            key = f"{request} {times}"
        return key

    def _row(self, key: str) -> Row | None:
        row = self._journal.get(key)
        try:
            return None if row is None else Row.model_validate(row)
        except ValidationError:
            log.warning("a row of the journal is not what was written: passed over", key=key)
            return None
