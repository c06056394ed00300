"""Checkpoints of a result in the making, which follow their stage from attempt to attempt."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import Damaged
from tuneline.store.base import FileRecord, Store, in_parallel
from tuneline.store.verify import plain_errors

log = structlog.get_logger()


class _StateIndex(BaseModel):
    """Which checkpoints exist: entry of the state folder → its files."""

    entries: dict[str, Annotated[list[FileRecord], Field(min_length=1)]]


class State:
    """A folder of checkpoints that follows its stage across attempts; an entry is in the store whole or not at all."""

    def __init__(self, store: Store, prefix: str, attempt: str, folder: Path) -> None:
        self.folder = folder
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._index = _StateIndex(entries={})
        self._syncing = threading.Lock()
        self._restored = False

    def restore(self) -> None:
        """Fetch what earlier attempts left. What is damaged is named in the log and left out: an older one counts."""
        self._restore()
        self._restored = True

    def _restore(self) -> None:
        with plain_errors(self.folder):
            self.folder.mkdir(parents=True)
        key = f"{self._prefix}/index.json"
        data = self._store.get(key)
        if data is None:
            return
        try:
            found = _StateIndex.model_validate_json(data).entries
        except ValidationError:
            log.warning("the list of checkpoints is damaged: they are left out", file=f"{self._store.uri}/{key}")
            return
        for name, files in found.items():
            try:
                self._fetch(name, files)
            except Damaged as error:
                log.warning("a checkpoint is left out", entry=repr(name), cause=str(error))
            else:
                self._index.entries[name] = files
                log.info("state restored", entry=name, files=len(files))

    def _fetch(self, name: str, files: list[FileRecord]) -> None:
        """Copy an entry into the folder, whole or not at all. Raises Damaged, also for a file that is none of its."""
        names = [r.key.removeprefix(f"{self._prefix}/").partition("/")[2] for r in files]
        for record, inside in zip(files, names, strict=True):
            if not (record.key.startswith(f"{self._prefix}/") and name and f"{inside}/".startswith(f"{name}/")):
                raise Damaged(f"{record.key}: is not a file of this checkpoint")
        try:
            in_parallel(self._store.download, files, [self.folder / inside for inside in names])
        except Damaged:
            entry = self.folder / name
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
            raise

    def sync(self) -> None:
        """Bring new whole entries into the store, then the index that names them; then delete what it dropped."""
        if not self._restored:  # what was fetched in part is no checkpoint
            return
        with self._syncing, plain_errors(self.folder):
            names = {p.name for p in self.folder.iterdir() if not p.name.endswith(".part")}
            old = self._index.entries
            kept = {name: old[name] for name in old if name in names}
            for name in sorted(names - kept.keys()):
                files = self._upload(name)
                kept |= old if files is None else {name: files}  # what a lost one was to replace stays for now
            if kept.keys() != old.keys():
                self._index = _StateIndex(entries=kept)
                self._store.put(f"{self._prefix}/index.json", self._index.model_dump_json(indent=1).encode())
                self._store.delete(r.key for name in old.keys() - kept.keys() for r in old[name])

    def _upload(self, name: str) -> list[FileRecord] | None:
        """Copy an entry; None if the stage has just dropped it.

        We hold it by hard links: the stage may drop it long before a slow store has taken it.
        """
        entry, held = self.folder / name, self.folder.with_name(f"{self.folder.name}.held") / name
        key = f"{self._prefix}/{self._attempt}"
        try:
            _link(entry, held)
            if not entry.exists():
                return None
            paths = [held] if held.is_file() else sorted(p for p in held.rglob("*") if p.is_file())
            return in_parallel(
                self._store.upload, paths, [f"{key}/{p.relative_to(held.parent).as_posix()}" for p in paths]
            )
        except (FileNotFoundError, shutil.Error):
            if entry.exists():
                raise
            return None
        finally:
            shutil.rmtree(held.parent)

    def discard(self) -> None:
        """Delete every checkpoint: the result is complete. The index goes first."""
        self._store.delete([f"{self._prefix}/index.json"])
        self._store.delete([entry.key for entry in self._store.list(self._prefix + "/")])


def _link(entry: Path, held: Path) -> None:
    held.parent.mkdir()
    if entry.is_file():
        held.hardlink_to(entry)
    else:
        shutil.copytree(entry, held, copy_function=os.link)
