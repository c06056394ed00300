"""Journals: items that cost money or time, kept one by one and shared by all runs of a store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from tuneline.store.base import Store, in_parallel


class StoreJournal:
    """A journal kept as write-once segments; a flush writes one segment with the rows since the last flush."""

    def __init__(self, store: Store, prefix: str, attempt: str) -> None:
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._pending: list[bytes] = []
        self._segments = 0
        keys = [entry.key for entry in store.list(prefix + "/")]
        self._rows = dict(row for segment in in_parallel(store.get, keys) for row in _rows(segment or b""))

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the row kept under `key`, or None."""
        with self._lock:
            return self._rows.get(key)

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep `row` under `key`; the next flush makes it durable."""
        line = json.dumps({"key": key, "row": row}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._rows[key] = json.loads(line)["row"]
            self._pending.append(line)

    def flush(self) -> None:
        """Write the rows since the last flush as one segment; if that fails, the next flush writes them too."""
        with self._flushing:
            with self._lock:
                lines = list(self._pending)
            if lines:
                self._store.put(f"{self._prefix}/{self._attempt}-{self._segments}.jsonl", b"".join(lines))
                self._segments += 1
                with self._lock:
                    del self._pending[: len(lines)]


def _rows(segment: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in segment.splitlines():
        item = json.loads(line)
        yield item["key"], item["row"]
