"""Signs of life: what a process at work says of itself, for people who look at a run from anywhere.

Each process keeps one small record, `runs/<run>/live/<node>.json` (a part of a stage its own), written anew every few
seconds and removed once the result is pinned. It is no lock: nothing is ever decided by it, and that it cannot be
written stops nothing. One that stops being written without an end was killed, or cannot reach the store.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Annotated, Literal

import structlog
from pydantic import AfterValidator

from tuneline.engine.layout import Node, live_key, live_steps_key
from tuneline.engine.pipelines import Step
from tuneline.engine.records import Record, now, read
from tuneline.errors import Temporary, UserError
from tuneline.stage import Closed, Part
from tuneline.store.base import Store, is_local

BEAT_SECONDS = {True: 2.0, False: 10.0}
"""How often a record is written: to a store on this machine, to any other."""
LOST_SECONDS = 60.0
"""A process that has not been heard of for so long is lost."""
LATELY_SECONDS = 300.0
"""Over how long the pace is taken."""

log = structlog.get_logger()


def _time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("no time zone")
    return text


Time = Annotated[str, AfterValidator(_time)]
"""As `now` writes it."""


class Beat(Record):
    """What one process at work said last."""

    node: str
    part: str | None = None
    """Which part of the node's work, as `3-of-10`."""
    attempt: str
    phase: Literal["working", "publishing"] = "working"
    done: int = 0
    total: int = 0
    """Units of work of this node or part; 0 is not known yet."""
    per_second: float | None = None
    """Units lately; None before the second look, because the first finds what earlier attempts did."""
    note: str = ""
    """What it is doing, in a few words of the stage."""
    cost_usd: float = 0.0
    """What this attempt has paid for calls to models."""
    started_at: Time
    beat_at: Time
    ended: int | None = None
    """Exit code of a process that ended without a result, or of a part that is done; None while it lives."""


class PlannedStep(Closed):
    """A step of a run, and the steps that it waits for."""

    node: str
    needs: tuple[str, ...] = ()


class PlannedSteps(Record):
    """The steps of a run as its last process to start knew them, in order, and what they may spend."""

    steps: tuple[PlannedStep, ...]
    max_usd: float | None = None


def planned(steps: tuple[Step, ...], max_usd: float | None) -> PlannedSteps:
    """Return what is recorded of a run's plan."""
    return PlannedSteps(steps=tuple(PlannedStep(node=s.name, needs=s.needs) for s in steps), max_usd=max_usd)


class Heartbeat:
    """Writes the record of one process, from `begin` until the block ends. Safe for threads; never raises."""

    def __init__(self, store: Store, run: str, node: Node, attempt: str, plan: PlannedSteps, part: Part | None) -> None:
        self._store, self._run, self._node, self._plan, self._part = store, run, node, plan, part
        self._beat = Beat(
            node=str(node), part=str(part) if part else None, attempt=attempt, started_at=now(), beat_at=now()
        )
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False
        self._seen: deque[tuple[float, int]] = deque()

    def begin(self) -> None:
        """Say for the first time that there is work."""
        self._say(started_at=now())
        self._thread = threading.Thread(target=self._go_on, name="signs-of-life", daemon=True)
        self._thread.start()

    def progress(self, done: int, total: int) -> None:
        with self._lock:
            self._beat = self._beat.model_copy(update={"done": done, "total": total})

    def tell(self, note: str) -> None:
        with self._lock:
            self._beat = self._beat.model_copy(update={"note": note[:200]})

    def paid(self, cost_usd: float) -> None:
        with self._lock:
            self._beat = self._beat.model_copy(update={"cost_usd": cost_usd})

    def publishing(self) -> None:
        if self._thread:
            self._say(phase="publishing")

    def end(self, code: int) -> None:
        """Say how the work ended: 0 is with a result, and takes the records of all parts away."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if code or self._part:
            self._say(ended=code)
        else:
            with suppress(UserError, Temporary):
                here = live_key(self._run, self._node)
                beginning = here.removesuffix("json")
                keys = [e.key for e in self._store.list(beginning) if e.key == here or ".part-" in e.key]
                self._store.delete(keys)

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _frames: TracebackType | None
    ) -> None:
        if error is None:
            self.end(0)
        else:
            self.end(75 if isinstance(error, Temporary) else 2 if isinstance(error, UserError) else 1)

    def _go_on(self) -> None:
        while not self._stop.wait(BEAT_SECONDS[is_local(self._store.uri)]):
            self._say(per_second=self._rate())

    def _rate(self) -> float | None:
        clock, done = time.monotonic(), self._beat.done
        self._seen.append((clock, done))
        while self._seen[0][0] < clock - LATELY_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return (done - before) / (clock - then) if done > before else None

    def _say(self, **changed: object) -> None:
        with self._lock:
            self._beat = beat = self._beat.model_copy(update={**changed, "beat_at": now()})
        try:
            if "started_at" in changed:
                key = live_steps_key(self._run)
                if read(PlannedSteps, self._store, key) != self._plan:
                    self._store.put(key, self._plan.to_bytes())
            self._store.put(live_key(self._run, self._node, self._part), beat.to_bytes())
        except (UserError, Temporary) as e:  # whatever it is stops the work itself at its next write
            if not self._warned:
                self._warned = True
                log.warning("no sign of life written", cause=str(e))


def age_seconds(iso: str) -> float:
    """Return how long ago a time was that `now` wrote: never less than 0, whatever clocks and damaged records say."""
    try:
        return max(0.0, time.time() - datetime.fromisoformat(iso).timestamp())
    except (ValueError, OverflowError):
        return 0.0
