"""How long a server is at work for each of the calls that share it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Clock:
    """Divides the time in which calls are in flight among them, at each moment in equal parts. Safe for threads.

    So the parts of all calls add up to the time in which the server was at work: a call that waits for others takes
    no longer by this, and a server that answers eight at once is as fast as it is.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, Lock()
        self._in_flight, self._each, self._at = 0, 0.0, 0.0

    def begin(self) -> float:
        """Begin a call; give what this returns to `end`."""
        with self._lock:
            self._go_on()
            self._in_flight += 1
            return self._each

    def end(self, begun: float) -> float:
        """End a call and return its part, in seconds."""
        with self._lock:
            self._go_on()
            self._in_flight -= 1
            return self._each - begun

    def _go_on(self) -> None:
        now = self._now()
        if self._in_flight:
            self._each += (now - self._at) / self._in_flight
        self._at = now
