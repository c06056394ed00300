"""How many calls a server is sent at once, and when to stop sending: additive increase, multiplicative decrease."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from tuneline.errors import Stopped


class AdaptiveLimit:
    """Lets at most `limit` calls run at once: one more after each full round of successes, half after a push-back.

    It starts at half of `most`. Several push-backs of calls that ran side by side are one signal: only calls that
    began after the last cut can cut again. Safe for threads.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = max(1, most // 2)
        self.running = 0
        self._round = 0
        self._successes = 0
        self._not_before = 0.0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self) -> int:
        """Wait for a turn; return the round, to be handed to `leave`. Raises Stopped after `close`."""
        with self._changed:
            while not self._closed and (self.running >= self.limit or time.monotonic() < self._not_before):
                pause = self._not_before - time.monotonic()
                self._changed.wait(timeout=pause if pause > 0 else None)
            if self._closed:
                raise Stopped("stopped; run the same command again to resume from here")
            self.running += 1
            return self._round

    def leave(self, began: int, outcome: bool | None) -> None:
        """End the turn of a call that began in round `began`: True is a success, False a push-back, None neither."""
        with self._changed:
            self.running -= 1
            if outcome:
                self._successes += 1
                if self._successes >= self.limit and self.limit < self.most:
                    self.limit, self._successes = self.limit + 1, 0
            elif outcome is False and began == self._round:
                self.limit, self._successes = max(1, self.limit // 2), 0
                self._round += 1
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Let no call begin for so long, because the server said so."""
        with self._changed:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait outside a turn; ends at once after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=seconds)

    def close(self, drain_s: float) -> None:
        """Let no call begin any more, and wait for those that run, at most `drain_s` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.running == 0, timeout=drain_s)


@dataclass
class Breaker:
    """Opens after `failures` calls in a row have failed over at least `seconds`. Safe for threads.

    Both are needed: 64 calls that run side by side fail together in one hiccup, and a single slow call proves little.
    """

    failures: int
    seconds: float
    _count: int = 0
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def success(self) -> None:
        with self._lock:
            self._count = 0

    def failure(self) -> bool:
        """Count a failure; return whether the breaker is open."""
        with self._lock:
            if self._count == 0:
                self._since = time.monotonic()
            self._count += 1
            return self._count >= self.failures and time.monotonic() - self._since >= self.seconds
