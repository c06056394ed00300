"""How fast a server is sent calls: learned from what it rejects, without knowing which limit it has.

A server that limits calls by a token bucket has an empty bucket whenever it rejects one, so the calls it took between
two rejections, divided by the time between them, are its rate: no search comes as close with as few rejections. The
pace doubles until the first rejection, then approaches the measured rate from below, stays near it for long and leaves
it faster and faster, like CUBIC (RFC 9438) does with windows. Calls that were on their way when the server rejected
one say nothing new. A server that takes nothing until a call ends limits calls in flight; that is found out, too.
Everything is a function of the times that it is given, so that hours can be simulated in milliseconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from tuneline.llm.announced import Announced, Gates
from tuneline.stage import Usage

DOUBLING = 1.4
"""Time in which the pace doubles while nothing is known of the server, in first waits."""
FREE = 2
"""Calls in flight that need no pace while nothing is known."""
SHY = 0.05
"""Share by which the pace starts below a rate that is measured well, and which it is above after twice the cycle."""
CYCLE = 300
"""Calls in which it comes back to that rate; a rejection for every two cycles costs less than one call in 500."""
TRUST = 6
"""As many cycles of calls as were taken between two rejections; few calls measure a rate badly."""
TRUST_ONE = 0.15
"""The same for the first rejection, times the square of the calls before it, which say little of a small bucket."""
MEASURED = 20
"""Calls after which a rate is measured anew rather than together with the time before."""
REMEMBERED = 4096
"""Calls whose times are kept; the mean of more is near enough to the rate."""
PROBE = 4
"""Time after which a call that was not rejected has been taken, in first waits."""
BETTER = 200
"""Calls without a rejection after which one more in flight is tried, where those are what is limited."""
LATE_S = 0.05
"""How much of a delay of ours is made good by sending faster."""

NOTHING = Usage()


class Turn(NamedTuple):
    """A call that was begun: how many before it, when, and how many were in flight."""

    number: int
    at: float
    others: int


class Pace:
    """Says when the next call may begin; at most `most` are in flight. Times are seconds of any steady clock.

    After a rejection that tells no rate it waits `first_wait_s`, and twice as long each time, up to `longest_wait_s`.
    """

    def __init__(self, most: int, first_wait_s: float = 0.5, longest_wait_s: float = 30.0) -> None:
        self.most, self.in_flight = most, 0
        self.slots: int | None = None
        """Calls in flight that the server takes, None while its limit is another."""
        self.gates = Gates(longest_wait_s)
        self._first, self._longest = first_wait_s, longest_wait_s
        self._slowest = 1 / first_wait_s
        self._sent = self._rejected = self._ended = 0
        self._began = self._last = -math.inf
        self._grown_s = 0.0
        self._taken_at: deque[float] = deque(maxlen=REMEMBERED)  # when calls began that were not rejected
        self._first_cut = math.inf, 0.0  # calls and seconds before it
        self._not_before = self._probe_at = -math.inf
        self._fence = 0  # calls before this number were under way at the last cut
        self._cuts: deque[tuple[float, int]] = deque()  # when it was sent, and how many had been taken before
        self._ended_at_cut = self._in_vain = self._early = 0
        self._clean = False  # nothing but our pace held calls back since the last cut
        self._curve: _Curve | None = None
        self._least = self._good = 0

    def rate(self) -> float:
        """Return the present pace, in calls per second."""
        if self._curve is not None:
            return self._curve.rate(self._sent)
        start = min(50.0, max(25.0, self.most / 20))
        return start * math.exp2(min(10, self._grown_s / (DOUBLING * self._first)))

    def next(self, now: float) -> float:
        """Return when the next call may begin; infinity is after one has ended."""
        if self.in_flight >= self.most:
            return math.inf
        if self.slots is not None:
            if self._ended > self._ended_at_cut:
                return max(now, self._not_before) if self.in_flight < self.slots else math.inf
            probed = self.in_flight > self.slots
            return self._last + PROBE * self._first if probed else max(self._probe_at, self._not_before)
        at = max(self._not_before, self.gates.next(self._sent, self._last))
        free = self._curve is None and self.in_flight < FREE
        return at if free or not self._sent else max(at, self._last + 1 / self.rate())

    def begin(self, now: float) -> Turn:
        """Begin a call, now."""
        due = self._last + 1 / self.rate() if self._sent else now
        in_time = due >= now or due < self._not_before
        # A pause of ours, as at the first call of an SDK, is no reason to hurry after it.
        self._grown_s += min(now - self._last, 2 / self.rate()) if self._sent else 0.0
        turn = Turn(self._sent, now, self.in_flight)
        if self.slots is not None and self.in_flight > self.slots:
            self.slots = None  # it took more than we thought, else it would have rejected the last call long ago
        self._began = min(now, self._began) if self._sent else now
        self._last = now if in_time else max(due, now - LATE_S)
        self._taken_at.append(now)
        self._sent += 1
        self.in_flight += 1
        return turn

    def end(
        self, turn: Turn, *, taken: bool = True, announced: Sequence[Announced] = (), usage: Usage = NOTHING
    ) -> None:
        """End a call that the server took (and what it took), or that says nothing about its limits."""
        self.in_flight -= 1
        self._ended += 1
        self.gates.hear(turn.number, turn.at, announced, usage)
        if not taken or turn.number < self._fence:
            return
        self._in_vain = 0
        if self.slots is None:
            return
        if turn.others >= self.slots:
            self.slots = None  # it took more than we thought that it takes
            return
        self._good += 1
        if self._good % max(BETTER, 2 * self.slots) == 0:
            self._least, self.slots = self.slots, self.slots + 1

    def reject(
        self, turn: Turn, now: float, *, wait_s: float | None = None, overloaded: bool = False,
        announced: Sequence[Announced] = (),
    ) -> None:  # fmt: skip
        """End a call that the server did not take; it may order a wait, and say that it has too much to do."""
        self.in_flight -= 1
        before = turn.number - self._rejected
        if turn.at in self._taken_at:
            self._taken_at.remove(turn.at)
        self._rejected += 1
        self.gates.hear(turn.number, turn.at, announced, NOTHING)
        if wait_s:
            self._not_before = max(self._not_before, now + wait_s)
        if turn.number < self._fence:
            return
        self._fence = self._sent
        idle, self._ended_at_cut = self._ended == self._ended_at_cut, self._ended
        if self.slots is not None and turn.others >= self._least:
            self.slots = self._least = min(self.slots, turn.others)
            self._probe_at = now + (self._longest if self._good or not idle else self._wait())
            return
        self.slots = None
        if overloaded:
            self._slow_down(now, taken=before > (self._cuts[-1][1] if self._cuts else 0), ordered=bool(wait_s))
        else:
            self._cut(turn, now, before, idle=idle, ordered=bool(wait_s))

    def _cut(self, turn: Turn, now: float, before: int, *, idle: bool, ordered: bool) -> None:
        rate, taken = self.rate(), before - self._cuts[-1][1] if self._cuts else 0
        self._cuts.append((turn.at, before))
        while len(self._cuts) > 2 and before - self._cuts[1][1] >= MEASURED:
            self._cuts.popleft()
        if len(self._cuts) == 1 and self._curve is None:
            self._begin_anew(turn)
        elif self._is_noise(taken):
            self._in_vain = 0 if taken > 0 else self._in_vain + 1
            self._curve = _Curve(max(1.2 * self._slowest, rate), 0.15, 15, self._sent)
            return
        elif taken > 0:
            self._measure(rate)
            self._clean, self._in_vain = not ordered, 0
            return
        self._wait_in_vain(turn, now, before, idle=idle, ordered=ordered)

    def _begin_anew(self, turn: Turn) -> None:
        """The first rejection: a bucket that holds a second's worth of calls, as most do, has this rate."""
        self._first_cut = turn.number, turn.at - self._began
        top = max(self._slowest / 2, turn.number / (turn.at - self._began + 1.0))
        cycle = min(CYCLE, max(8.0, TRUST_ONE * turn.number**2))
        self._curve = _Curve(top, SHY, cycle, self._sent - cycle / 2)

    def _is_noise(self, taken: int) -> bool:
        """Whether it rejects calls at any pace: four times slower than measured, and it did so nevertheless."""
        early = self._curve is not None and self._sent - self._curve.start < self._curve.cycle / 2
        if self._in_vain > 2 or not early:
            self._early = 0
        self._early += early and taken > 0
        return self._early >= 4

    def _measure(self, rate: float) -> None:
        (since, first), (until, last) = self._cuts[0], self._cuts[-1]
        taken = max(1, last - first)
        least = taken / max(until - since, 1e-3)
        top = self._filled(least, rate, since, until) if rate > 1.2 * least else least
        trust = TRUST if self._clean or taken >= MEASURED else TRUST / 2
        shy = min(0.5, max(SHY, 1.5 / taken))
        self._curve = _Curve(top, shy, min(CYCLE, max(8, trust * taken)), self._sent)

    def _filled(self, least: float, most: float, since: float, until: float) -> float:
        """Return the rate of a bucket that was empty at both times and takes what was sent between them.

        Of one that was full meanwhile the mean, `least`, is too low: what had flowed over by then was not taken.
        """
        if self._taken_at and self._taken_at[0] > since:
            return least
        sent = [at for at in self._taken_at if since < at <= until]
        calls, seconds = self._first_cut
        while most > 1.01 * least:
            rate, level, before = (least + most) / 2, 0.0, since
            burst = max(rate / 4, calls - rate * seconds)
            for at in sent:
                level, before = min(burst, level + (at - before) * rate) - 1, at
            least, most = (least, rate) if level >= 0 else (rate, most)
        return least

    def _wait_in_vain(self, turn: Turn, now: float, before: int, *, idle: bool, ordered: bool) -> None:
        first, wait = len(self._cuts) == 1, self._wait()
        self._clean = False
        if self._in_vain > 1 and idle and turn.others:
            self.slots = self._least = turn.others
            self._good, self._probe_at = 0, now + wait
        elif not ordered:
            self._not_before = max(self._not_before, now + wait)
        if ordered or first:
            return
        mean = before / (now - self._began) if wait > 8 * self._first else 0.0
        slow = _Curve(2 / wait, 0.5, 4, self._sent)
        self._curve = slow if mean <= slow.top else _Curve(mean, 0.5, max(4, before / 2), self._sent)

    def _slow_down(self, now: float, *, taken: bool, ordered: bool) -> None:
        """A server that is overloaded tells no rate of ours."""
        self._cuts.clear()
        top = max(self._slowest, 0.7 * self.rate())
        self._curve = _Curve(top, 0.3, max(8, 2 * top), self._sent)
        self._in_vain = 0 if taken else self._in_vain
        wait = self._wait()
        if not ordered and self._in_vain > 3:
            self._not_before = max(self._not_before, now + wait)

    def _wait(self) -> float:
        wait = min(self._longest, self._first * math.exp2(min(self._in_vain, 30)))
        self._in_vain += 1
        return wait


class _Curve(NamedTuple):
    """A cubic through `top` after `cycle` calls, counted from call `start`, where it is lower by the share `shy`."""

    top: float
    shy: float
    cycle: float
    start: float

    def rate(self, sent: int) -> float:
        from_top = (sent - self.start) / self.cycle - 1
        return self.top * (1 + self.shy * from_top * from_top * from_top)
