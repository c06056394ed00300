"""What goes on while a stage runs: checkpoints and journals reach the store, progress is shown, signals are heard."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from io import BufferedWriter
from pathlib import Path
from types import FrameType

import structlog

from tuneline.engine.checkpoints import State
from tuneline.engine.heartbeat import Heartbeat
from tuneline.engine.journal import StoreJournal
from tuneline.engine.layout import Node, journal_prefix, result_key
from tuneline.engine.ledger import Ledger, LedgerAccount
from tuneline.engine.places import StorePlace, open_place
from tuneline.engine.records import forgotten_hashes, is_forgotten, maker_of
from tuneline.errors import Temporary, UserError
from tuneline.stage import InputRecord, Maker, Part
from tuneline.store.base import Store
from tuneline.store.verify import plain_errors

GRACE_SECONDS = 20.0
"""After SIGTERM a stage has this long to reach a safe point; then what there is is flushed and the process exits 75."""

BEAT_SECONDS = 1.0
"""Journals and checkpoints reach the store this often."""

log = structlog.get_logger()


class Live:
    """The Context of a running stage (see `tuneline.stage.Context`). A context manager around `Stage.run`.

    `on_begin` is called once, when the stage first asks for its state, a journal or progress: until then it is only
    checking its inputs, and a UserError leaves nothing behind.
    """

    def __init__(
        self, store: Store, stage: str, fingerprint: str, attempt: str, folder: Path,
        lineage: Mapping[str, InputRecord], on_begin: Callable[[], None], part: Part | None = None,
        ledger: Ledger | None = None, heartbeat: Heartbeat | None = None,
    ) -> None:  # fmt: skip
        self.fingerprint, self.lineage, self.part = fingerprint, lineage, part
        self.begun = False
        self._store, self._stage, self._attempt = store, stage, attempt
        # Parts run at the same time, so each has checkpoints of its own.
        prefix = result_key(stage, fingerprint, "state", *([f"part-{part}"] if part else []))
        self._state = State(store, prefix, attempt, folder)
        self._on_begin = on_begin
        self._heartbeat = heartbeat
        self._ledger = ledger or Ledger(None, "", Node(stage), attempt)
        self._journals: dict[str, StoreJournal] = {}
        self._opening = threading.RLock()
        """Held while work begins or a journal is opened: a stage's threads may do either first."""
        self._progress = ""
        self._stop, self._signalled = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._beats: Future[None] | None = None
        self._lock: BufferedWriter | None = None
        self._last_resort = threading.Timer(GRACE_SECONDS, self._give_up)
        self._last_resort.daemon = True

    @property
    def state(self) -> Path:
        self._begin()
        return self._state.folder

    def journal(self, *scope: str) -> StoreJournal:
        self._begin()
        prefix = journal_prefix(self._stage, scope)
        with self._opening:
            if prefix not in self._journals:
                self._journals[prefix] = StoreJournal(self._store, prefix, self._attempt, self._state.folder.parent)
            return self._journals[prefix]

    def account(self, role: str, model: str) -> LedgerAccount:
        return self._ledger.account(role, model)

    def limit(self, max_usd: float | None) -> None:
        self._ledger.limit(max_usd)

    def is_forgotten(self, name: str, sha256: str) -> bool:
        return is_forgotten(self._forgotten, name, sha256)

    @cached_property
    def _forgotten(self) -> frozenset[str]:
        return forgotten_hashes(self._store)

    def maker(self, port: str) -> Maker | None:
        record = self.lineage.get(port)
        return maker_of(self._store, record) if record else None

    def place(self, uri: str) -> StorePlace:
        return open_place(uri, self._store)

    def progress(self, done: int, total: int) -> None:
        """Report progress; raises Temporary after SIGTERM, and whatever went wrong while saving."""
        self._begin()
        self._progress = f"{done}/{total}"
        if self._heartbeat:
            self._heartbeat.progress(done, total)
        if self._beats is not None and self._beats.done():
            self._beats.result()
        if self._signalled.is_set():
            raise Temporary(f"stopped at {done} of {total}; run the same command again to resume from here")

    def tell(self, note: str) -> None:
        self._begin()
        if self._heartbeat:
            self._heartbeat.tell(note)

    def secret(self, name: str) -> str:
        return read_secret(name)

    def __enter__(self) -> Live:
        self._handlers = [(n, signal.signal(n, self._on_signal)) for n in (signal.SIGTERM, signal.SIGINT)]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._last_resort.cancel()
        self._pool.shutdown(wait=True)
        if self.begun:
            self.flush()
            for journal in self._journals.values() if kind is None else ():
                journal.compact()
            self._ledger.close()
            if self._lock:
                self._lock.close()
        for number, handler in self._handlers:
            signal.signal(number, handler)

    def flush(self) -> None:
        for journal in list(self._journals.values()):
            journal.flush()
        self._ledger.flush()
        if self._heartbeat:
            self._heartbeat.paid(self._ledger.paid_usd)
        self._state.sync()
        if (file := os.environ.get("ARGO_PROGRESS_FILE")) and self._progress:
            with plain_errors(file):
                Path(file).write_text(self._progress)

    def discard_state(self) -> None:
        self._state.discard()
        shutil.rmtree(self._state.folder, ignore_errors=True)

    def _begin(self) -> None:
        with self._opening:
            if self.begun:
                return
            self._on_begin()
            self.begun = True
            if self._heartbeat:
                self._heartbeat.begin()
            self._state.restore()
            self._lock = (self._state.folder.parent / "running.lock").open("wb")
            with suppress(OSError):  # some network disks know no locks
                fcntl.flock(self._lock, fcntl.LOCK_EX)  # whoever forgets transcripts waits until it is free
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
            if self._heartbeat:
                self._heartbeat.end(75)
        except (Temporary, UserError) as e:
            log.error("not saved", cause=str(e))
        finally:
            os._exit(75)


def read_secret(name: str) -> str:
    """Return the secret in variable `name` or in the file that `name`_FILE names. Raises UserError without both."""
    value = os.environ.get(name, "")
    if not value and (file := os.environ.get(f"{name}_FILE")):
        try:
            value = Path(file).read_text(errors="replace")
        except OSError as e:
            raise UserError(f"{name}_FILE: {file} cannot be read: {e.strerror}") from None
    value = value.strip()
    if not value:
        raise UserError(f"{name} is not set: set it in the environment, or set {name}_FILE to a file that holds it")
    if not (value.isascii() and value.isprintable()):
        raise UserError(f"{name} contains a line break or another character that no key has; is it the right file?")
    return value
