"""Journals: items that cost money or time, kept one by one and shared by all runs of a store."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import structlog

from tuneline.store.base import TRANSFERS, Entry, Store, in_parallel
from tuneline.store.verify import plain_errors

PIECE = 4 << 20
"""Bytes of the segments that small ones are merged into. While a journal is opened, TRANSFERS of them are in memory."""
SMALL = 16
"""Segments below half a piece that may stay; more are merged when the journal is opened."""
MERGE_SECONDS = 3_600.0
"""Nobody merges for longer: a mark that is older belongs to a process that was killed."""
LISTINGS = 10
"""Listings, if segments go while they are read, because somebody merges them."""

_SEGMENT = re.compile(r"[\w-]+-\d+\.jsonl")
_MARK = "merging.jsonl"  # empty: a segment without rows for readers that do not know it

log = structlog.get_logger()


class StoreJournal:
    """A journal kept as write-once segments; a flush writes one segment with the rows since the last flush.

    Rows lie in a nameless file in `folder` (by default in $TMPDIR), not in memory. A file that is no segment and a line
    that is no row are named in the log and passed over; they stay where they are.
    """

    def __init__(
        self, store: Store, prefix: str, attempt: str, folder: Path | None = None, *, merge: bool = True
    ) -> None:
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._pending: list[bytes] = []
        self._flushed: list[str] = []  # segments of rows that were put here
        self._segments = self._end = 0
        self._places: dict[str, tuple[int, int]] = {}  # start and length of a row's line in the file
        self._where = folder or tempfile.gettempdir()
        with plain_errors(self._where):
            self._file, name = tempfile.mkstemp(dir=folder)
            Path(name).unlink()
        weakref.finalize(self, os.close, self._file)
        small = self._read()
        self._found = self._end  # where the rows begin that are put here
        if merge:
            self._merge(small)

    def get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            line = self._line(key)
        row: dict[str, Any] | None = json.loads(line)["row"] if line else None
        return row

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        line = json.dumps({"key": key, "row": row}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with self._lock:
            self._pending.append(line)  # first of all: it is paid, also if this disk is full
            self._keep(key, line)

    def flush(self) -> None:
        """Write the rows since the last flush as one segment; if that fails, the next flush writes them too."""
        with self._flushing:
            with self._lock:
                lines = list(self._pending)
            if lines:
                self._flushed.append(self._write(b"".join(lines)))
                with self._lock:
                    del self._pending[: len(lines)]

    def compact(self) -> None:
        """At the end, write the rows that were put here as few segments in place of one for each second."""
        self.flush()
        if len(self._flushed) > SMALL:
            own = [key for key, (start, _) in self._places.items() if start >= self._found]
            few = [self._write(piece) for piece in self._pieces(own)]
            self._store.delete(self._flushed)
            self._flushed = few

    def _read(self) -> dict[str, list[str]]:
        """Keep all rows; return the keys of each small segment. What is gone since the listing lies in another one."""
        seen: set[str] = set()
        small: dict[str, list[str]] = {}
        for _ in range(LISTINGS):
            listed = [entry for entry in self._listed() if entry.key not in seen]
            for start in range(0, len(listed), TRANSFERS):
                batch = listed[start : start + TRANSFERS]
                for entry, data in zip(batch, in_parallel(self._store.get, [e.key for e in batch]), strict=True):
                    if data is not None:
                        seen.add(entry.key)
                        keys = self._take(entry.key, data)
                        if keys is not None and entry.size < PIECE / 2:
                            small[entry.key] = keys
            if seen.issuperset(entry.key for entry in listed):
                break
        return small

    def _listed(self) -> Iterator[Entry]:
        for entry in self._store.list(self._prefix + "/"):
            name = entry.key.removeprefix(f"{self._prefix}/")
            if _SEGMENT.fullmatch(name):
                yield entry
            elif name != _MARK:
                log.warning("not part of the journal: ignored", file=repr(f"{self._store.uri}/{entry.key}"))
            elif time.time() - entry.modified > MERGE_SECONDS:
                self._store.delete([entry.key])

    def _take(self, name: str, segment: bytes) -> list[str] | None:
        """Keep the rows of a segment; return their keys, or None if something in it is damaged."""
        found = {n: (_key(line), line) for n, line in enumerate(BytesIO(segment), 1)}
        damaged = [n for n, (key, _) in found.items() if key is None]
        if damaged:
            place = f"{self._store.uri}/{name}"
            log.warning("damaged lines in a journal: ignored", file=place, lines=len(damaged), first=damaged[0])
        keys = []
        for key, line in found.values():
            if key is not None:
                self._keep(key, line.rstrip() + b"\n")
                keys.append(key)
        return None if damaged else keys

    def _merge(self, small: Mapping[str, Iterable[str]]) -> None:
        """Write what many small segments hold into few, then delete them. Killed in between, nothing is lost.

        The mark only saves work: whoever merges at the same time writes rows twice, and deletes what it has written.
        """
        mark = f"{self._prefix}/{_MARK}"
        if len(small) <= SMALL or not self._store.put(mark, b"", if_absent=True):
            return
        if small.keys() <= {entry.key for entry in self._store.list(self._prefix + "/")}:
            for piece in self._pieces(dict.fromkeys(key for keys in small.values() for key in keys)):
                self._write(piece)
            self._store.delete(small)
        self._store.delete([mark])

    def _pieces(self, keys: Iterable[str]) -> Iterator[bytes]:
        piece = bytearray()
        for key in keys:
            piece += self._line(key)
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def _write(self, segment: bytes) -> str:
        """Write a segment under a name that no other one ever has: whoever merges deletes nothing it has not read."""
        name = f"{self._prefix}/{self._attempt}-{self._segments}.jsonl"
        self._segments += 1
        self._store.put(name, segment)
        return name

    def _keep(self, key: str, line: bytes) -> None:
        with plain_errors(self._where):
            if os.pwrite(self._file, line, self._end) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._places[key] = self._end, len(line)
        self._end += len(line)

    def _line(self, key: str) -> bytes:
        start, length = self._places.get(key, (0, 0))
        return os.pread(self._file, length, start)


def _key(line: bytes) -> str | None:
    """Return the key of a row, or None if the line is none."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(item, dict) and isinstance(item.get("key"), str) and isinstance(item.get("row"), dict)
    return item["key"] if whole else None
