"""Rows of results: which transcript each belongs to, read where they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneline.engine.records import Manifest
from tuneline.errors import UserError
from tuneline.store.base import FileRecord, Store

HOLDERS = ("assessor", "slicer")
"""Stages whose outputs have a row for each transcript, or several."""

Row = dict[str, Any]


class RowReader:
    """Reads outputs row by row, whatever their size: on a file store in place, else from a copy in `folder`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder

    def path(self, record: FileRecord) -> Path:
        here = self._store.local(record)
        if here is None:
            here = self._folder / record.sha256
            if not here.exists():
                self._store.download(record, here)
        return here

    def rows(self, record: FileRecord) -> Iterator[Row]:
        with self.path(record).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise UserError(
                        f"{self._store.uri}/{record.key}:{number}: not JSON. Let its stage make it again."
                    ) from None
                if isinstance(row, dict):
                    yield row


def owner(row: Row) -> object:
    """Return the id of the transcript that a row belongs to."""
    return row.get("transcript", row.get("id"))


def row_files(manifest: Manifest) -> Iterator[tuple[str, FileRecord]]:
    """Yield port and file of the outputs that have a row for each transcript, of a stage that has such."""
    if manifest.stage in HOLDERS:
        for port, output in manifest.outputs.items():
            for name, record in output.files.items():
                if name.endswith(".jsonl"):
                    yield port, record
