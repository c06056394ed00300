"""What goes on while a stage runs: checkpoints and journals reach the store, progress is told, signals are heard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from pydantic import BaseModel

from tuneline.manifest import result_key, sha256_json
from tuneline.stage import InputRecord, Temporary, UserError
from tuneline.store import FileRecord, Store, at_once

GRACE_SECONDS = 20.0
"""After SIGTERM a stage has this long to reach a safe point; then what there is is flushed and the process exits 75."""

BEAT_SECONDS = 1.0
"""Journals and checkpoints reach the store this often."""

log = structlog.get_logger()


class StoreJournal:
    """A journal kept as write-once segments; a flush writes one segment with the rows since the last flush."""

    def __init__(self, store: Store, prefix: str, attempt: str) -> None:
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._pending: list[bytes] = []
        self._segments = 0
        keys = [entry.key for entry in store.list(prefix + "/")]
        self._rows = dict(row for segment in at_once(store.get, keys) for row in _rows(segment or b""))

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


class _StateIndex(BaseModel):
    """Which checkpoints exist: entry of the state folder → its files."""

    entries: dict[str, list[FileRecord]]


class State:
    """A folder of checkpoints that follows its stage across attempts; an entry is in the store whole or not at all."""

    def __init__(self, store: Store, prefix: str, attempt: str, folder: Path) -> None:
        self.folder = folder
        self._store, self._prefix, self._attempt = store, prefix, attempt
        self._index = _StateIndex(entries={})
        self._syncing = threading.Lock()

    def restore(self) -> None:
        """Fetch what earlier attempts left."""
        self.folder.mkdir(parents=True)
        data = self._store.get(f"{self._prefix}/index.json")
        if data is None:
            return
        self._index = _StateIndex.model_validate_json(data)
        for name, files in self._index.entries.items():
            places = [self.folder / r.key.removeprefix(f"{self._prefix}/").partition("/")[2] for r in files]
            at_once(self._store.download, files, places)
            log.info("state restored", entry=name, files=len(files))

    def sync(self) -> None:
        """Bring new whole entries into the store, then the index that names them; then delete what it dropped."""
        with self._syncing:
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
            return at_once(self._store.upload, paths, [f"{key}/{p.relative_to(held.parent).as_posix()}" for p in paths])
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
    """Make `held` a copy of the file or folder `entry`, of hard links."""
    held.parent.mkdir()
    if entry.is_file():
        held.hardlink_to(entry)
    else:
        shutil.copytree(entry, held, copy_function=os.link)


class Live:
    """The Context of a running stage (see `tuneline.stage.Context`). A context manager around `Stage.run`.

    `on_begin` is called once, when the stage first asks for its state, a journal or progress: until then it is only
    checking its inputs, and a UserError leaves nothing behind.
    """

    def __init__(
        self, store: Store, stage: str, fingerprint: str, attempt: str, folder: Path,
        lineage: Mapping[str, InputRecord], on_begin: Callable[[], None],
    ) -> None:  # fmt: skip
        self.fingerprint, self.lineage = fingerprint, lineage
        self.begun = False
        self._store, self._stage, self._attempt = store, stage, attempt
        self._state = State(store, result_key(stage, fingerprint, "state"), attempt, folder)
        self._on_begin = on_begin
        self._journals: dict[str, StoreJournal] = {}
        self._progress = ""
        self._stop, self._signalled = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._beats: Future[None] | None = None
        self._last_resort = threading.Timer(GRACE_SECONDS, self._give_up)
        self._last_resort.daemon = True

    @property
    def state(self) -> Path:
        """Folder for checkpoints."""
        self._begin()
        return self._state.folder

    def journal(self, *scope: str) -> StoreJournal:
        """Open the journal of `scope`."""
        self._begin()
        prefix = f"journals/{self._stage}/{sha256_json(scope)[:16]}"
        if prefix not in self._journals:
            self._journals[prefix] = StoreJournal(self._store, prefix, self._attempt)
        return self._journals[prefix]

    def progress(self, done: int, total: int) -> None:
        """Report progress; raises Temporary after SIGTERM, and whatever went wrong while saving."""
        self._begin()
        self._progress = f"{done}/{total}"
        if self._beats is not None and self._beats.done():
            self._beats.result()
        if self._signalled.is_set():
            raise Temporary(f"stopped at {done} of {total}; run the same command again and it goes on from here")

    def secret(self, name: str) -> str:
        """Return a secret from the environment, or from the file that `name`_FILE names."""
        if value := os.environ.get(name):
            return value
        if file := os.environ.get(f"{name}_FILE"):
            try:
                return Path(file).read_text().strip()
            except OSError as e:
                raise UserError(f"{name}_FILE: {file} cannot be read: {e.strerror}") from None
        raise UserError(f"{name} is not set: set it in the environment, or set {name}_FILE to a file that holds it")

    def __enter__(self) -> Live:
        """Listen to signals."""
        self._handlers = [(n, signal.signal(n, self._on_signal)) for n in (signal.SIGTERM, signal.SIGINT)]
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the heartbeat and bring what there is into the store."""
        self._stop.set()
        self._last_resort.cancel()
        self._pool.shutdown(wait=True)
        if self.begun:
            self.flush()
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def flush(self) -> None:
        """Make every journal row and whole checkpoint durable, and tell progress."""
        for journal in list(self._journals.values()):
            journal.flush()
        self._state.sync()
        if (file := os.environ.get("ARGO_PROGRESS_FILE")) and self._progress:
            Path(file).write_text(self._progress)

    def discard_state(self) -> None:
        """Delete the checkpoints of a result that is complete."""
        self._state.discard()
        shutil.rmtree(self._state.folder, ignore_errors=True)

    def _begin(self) -> None:
        if not self.begun:
            self._on_begin()
            self.begun = True
            self._state.restore()
            self._beats = self._pool.submit(self._beat)

    def _beat(self) -> None:
        """Flush every second; end like a SIGTERM when the process that started us is gone."""
        parent = os.environ.get("TUNELINE_PARENT")
        while not self._stop.wait(BEAT_SECONDS):
            self.flush()
            if parent and os.getppid() != int(parent) and not self._signalled.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._signalled.is_set():
            self._signalled.set()
            log.warning("stopping", signal=signal.Signals(number).name, within_seconds=GRACE_SECONDS)
            self._last_resort.start()

    def _give_up(self) -> None:
        """No safe point was reached in time: save what there is and leave."""
        try:
            if self.begun:
                self.flush()
        except (Temporary, UserError) as e:
            log.error("not saved", cause=str(e))
        finally:
            os._exit(75)
