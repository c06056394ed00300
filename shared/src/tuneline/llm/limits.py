"""Turns at a server, in order of arrival, when to give up on it, and how many items are with it at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tuneline.errors import Stopped
from tuneline.llm.pace import Pace, Turn

SAFE_POINT_S = 0.5
"""A stop is heard at least this often, however long a call takes."""

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

STOPPED = "stopped; run the same command again to resume from here"


class Turns:
    """Hands out turns at the times that `pace` says, within one event loop."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waiting: deque[asyncio.Future[Turn]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def begin(self) -> Turn:
        """Wait for a turn. Raises Stopped after `close`."""
        if self._closed:
            raise Stopped(STOPPED)
        place: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self.go_on()
        return await place

    def go_on(self) -> None:
        """Begin what may begin now; call it whenever a turn has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._waiting[0].done():  # whoever waited was cancelled
            self._waiting.popleft()
        if self._waiting:
            loop, now = asyncio.get_running_loop(), time.monotonic()
            at = self._pace.next(now)
            if at <= now:
                # One in each round of the loop: a busy machine would else send in a burst what was to be spread.
                self._waiting.popleft().set_result(self._pace.begin(now))
                self._timer = loop.call_later(0, self.go_on)
            elif at < math.inf:
                self._timer = loop.call_later(at - now, self.go_on)
        if self._pace.in_flight:
            self._idle.clear()
        else:
            self._idle.set()

    async def close(self, drain_s: float) -> None:
        """Let no call begin any more, and wait for those that run, at most `drain_s` seconds."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), drain_s)


@dataclass
class Breaker:
    """Opens after `failures` calls in a row have failed over at least `seconds`.

    Both are needed: 64 calls that run side by side fail together in one hiccup, and a single slow call proves little.
    """

    failures: int
    seconds: float
    _count: int = 0
    _since: float = 0.0

    def success(self) -> None:
        self._count = 0

    def failure(self) -> bool:
        """Count a failure; return whether the breaker is open."""
        if self._count == 0:
            self._since = time.monotonic()
        self._count += 1
        return self._count >= self.failures and time.monotonic() - self._since >= self.seconds


def ended(
    items: Iterable[I], submit: Callable[[I], Future[R]], concurrency: int, safe_point: Callable[[], None]
) -> Iterator[tuple[I, Future[R]]]:
    """Keep `concurrency` items under way until none is left; yield each that has ended.

    `safe_point` is called before the first, after the last and at least every half second, and may raise.
    """
    queue, running = iter(items), dict[Future[R], I]()
    while True:
        running |= {submit(item): item for item in islice(queue, concurrency - len(running))}
        safe_point()
        if not running:
            return
        for future in wait(running, timeout=SAFE_POINT_S, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future
