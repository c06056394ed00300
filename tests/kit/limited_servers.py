"""Servers with limits in virtual time: what they take, when they answer, and how a client fares that `Pace` slows."""

from __future__ import annotations

import heapq
import math
import random
from itertools import count
from typing import NamedTuple, Protocol

from tuneline.llm.announced import Announced
from tuneline.llm.pace import Pace, Turn


class Server(Protocol):
    """Takes a call or rejects it; `wait_s` is how long it orders to wait then."""

    def take(self, now: float) -> bool: ...
    def end(self) -> None: ...
    def wait_s(self, now: float) -> float: ...
    def ideal_s(self, calls: int, call_s: float) -> float: ...


class Bucket:
    """Holds up to `burst` calls and gets `rate` a second, which may change at a time."""

    def __init__(self, rate: float, burst: float, later: tuple[float, float] = (math.inf, 0.0)) -> None:
        self.rate, self.burst, self.level, self._at, self._later = rate, burst, burst, 0.0, later

    def take(self, now: float) -> bool:
        if now > self._later[0]:
            self.rate = self._later[1]
        self.level = min(self.burst, self.level + (now - self._at) * self.rate)
        self._at = now
        taken = self.level >= 1
        self.level -= taken
        return taken

    def end(self) -> None:
        """A call in flight counts for nothing."""

    def wait_s(self, now: float) -> float:
        return math.ceil((1 - self.level) / self.rate)

    def ideal_s(self, calls: int, call_s: float) -> float:
        return max(0.0, calls - self.burst) / self.rate + call_s


class Slots:
    """Takes up to `slots` calls in flight."""

    def __init__(self, slots: int) -> None:
        self.slots, self.taken = slots, 0

    def take(self, now: float) -> bool:
        free = self.taken < self.slots
        self.taken += free
        return free

    def end(self) -> None:
        self.taken -= 1

    def wait_s(self, now: float) -> float:
        return 1.0

    def ideal_s(self, calls: int, call_s: float) -> float:
        return calls * call_s / self.slots


class Window:
    """Takes up to `most` calls in each window of `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds, self._window, self._taken = most, seconds, -1, 0

    def take(self, now: float) -> bool:
        if now // self.seconds != self._window:
            self._window, self._taken = int(now // self.seconds), 0
        free = self._taken < self.most
        self._taken += free
        return free

    def end(self) -> None:
        """A call in flight counts for nothing."""

    def wait_s(self, now: float) -> float:
        return math.ceil((self._window + 1) * self.seconds - now)

    def ideal_s(self, calls: int, call_s: float) -> float:
        return (calls - 1) // self.most * self.seconds + call_s


class Moody:
    """Rejects a share of all calls, however few there are."""

    def __init__(self, share: float) -> None:
        self._share, self._random = share, random.Random(3)

    def take(self, now: float) -> bool:
        return self._random.random() >= self._share

    def end(self) -> None:
        """Nothing counts."""

    def wait_s(self, now: float) -> float:
        return 1.0

    def ideal_s(self, calls: int, call_s: float) -> float:
        return calls / 2


class Fared(NamedTuple):
    """How it went: seconds, seconds / ideal, rejections / calls, and most calls in flight."""

    seconds: float
    ratio: float
    rejected: float
    in_flight: int


def simulate(
    server: Server, *, calls: int = 1000, call_s: float = 5.0, reject_s: float = 0.01, most: int = 1000,
    orders: bool = False, announces: bool = False, seed: int = 1, within_s: float = 50_000.0,
) -> Fared:  # fmt: skip
    """Make `calls` calls, each again until it is taken; a call takes `call_s`, a rejection `reject_s`."""
    draw, number, pace = random.Random(seed), count(), Pace(most)
    events: list[tuple[float, int, str, Turn, float]] = []
    now, todo, done, rejected, in_flight = 0.0, calls, 0, 0, 0

    def later(seconds: float, what: str, turn: Turn, wait_s: float = 0.0) -> None:
        heapq.heappush(events, (now + seconds, next(number), what, turn, wait_s))

    def said() -> list[Announced]:
        if not (announces and isinstance(server, Bucket)):
            return []
        return [Announced("requests", False, server.burst, math.floor(server.level), server.rate)]

    while done < calls:
        at = max(now, pace.next(now)) if todo else math.inf
        if at <= (events[0][0] if events else math.inf):
            assert at < within_s, f"stuck at {now}"
            now, todo = at, todo - 1
            later(reject_s / 2 * draw.uniform(1, 1.5), "arrives", pace.begin(now))
            in_flight = max(in_flight, pace.in_flight)
            continue
        now, _, what, turn, wait_s = heapq.heappop(events)
        if what == "arrives" and server.take(now):
            later(call_s * draw.uniform(0.95, 1.05), "ends", turn)
        elif what == "arrives":
            later(reject_s / 2, "rejected", turn, server.wait_s(now) if orders else 0.0)
        elif what == "ends":
            server.end()
            later(reject_s / 2, "answered", turn)
        elif what == "answered":
            pace.end(turn, announced=said())
            done += 1
        else:
            pace.reject(turn, now, wait_s=wait_s or None, announced=said())
            rejected, todo = rejected + 1, todo + 1
    return Fared(now, now / server.ideal_s(calls, call_s), rejected / calls, in_flight)
