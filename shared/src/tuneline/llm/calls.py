"""The one retry layer of all calls to models: turns, retries, wall time, money, over one attempt that a provider makes.

The SDKs' own retries are off: there is one retry layer, here, and it knows what may have been paid.
"""

from __future__ import annotations

import asyncio
import random
import resource
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

from tuneline.errors import Fault, LlmRejected, ServerDown, Stopped, Temporary, UserError
from tuneline.llm.announced import read_announced
from tuneline.llm.limits import STOPPED, Breaker, Turns
from tuneline.llm.pace import Pace, Turn
from tuneline.llm.providers.provider import A_DAY_S, HEARD
from tuneline.stage import Account, Usage

OTHER_FILES = 200
"""Files that are open beside the connections of calls."""

DRAIN_SECONDS = 6.0
"""How long calls in flight may still end when the client is closed, whatever they may have cost: an answer that is paid
for is worth these seconds. The clients of both arms and of the simulator close one after the other within the grace
period of a stage, 20 seconds."""
FREE_DRAIN_SECONDS = 2.0
"""The same where no call in flight costs anything: the next attempt asks again, and nothing is lost but the wait."""

MONEY_SECONDS = 0.05
"""A call for which there may be no money looks so often whether those in flight cost less than they could have."""


class Patience(NamedTuple):
    """How hard one retry layer tries."""

    attempts: int = 10
    """Attempts per call; with the waits below, about two minutes."""
    paid_attempts: int = 3
    """Attempts per call that ended in a time-out or in nonsense: the server may bill those."""
    first_wait_s: float = 0.5
    """Wait after the first failure; it doubles each time, and half of it is random."""
    longest_wait_s: float = 30.0
    longest_ordered_wait_s: float = 300.0
    """A server that orders a longer wait has no quota left for today."""
    streak: int = 10
    """Failures in a row, of all calls together, after which nothing more is tried …"""
    streak_s: float = 60.0
    """… if they lasted at least this long …"""
    full_s: float = 180.0
    """… or this long where the server only wants fewer calls; limits of a minute are outlasted."""


ONE_QUESTION = Patience(attempts=2, paid_attempts=1)
QUESTION_SECONDS = 60.0
"""How hard and how long a check asks whether a model answers at all: people wait for it."""


class _NoAccount:
    """Of calls that belong to no run."""

    def reserve(self, most_usd: float | None) -> bool:
        return True

    def settle(self, most_usd: float | None, usage: Usage, *, lost: bool = False) -> None:
        pass

    def found(self, usage: Usage) -> None:
        pass


class Answer(Protocol):
    """What an attempt brings."""

    @property
    def usage(self) -> Usage:
        """Return what the call took."""


A = TypeVar("A", bound=Answer)
Attempt = Callable[[], Awaitable[A]]


class Calls:
    """Makes calls to the server at `address`, from as many threads as you like.

    At most `concurrency` run at once, fewer while the server pushes back. A call that takes longer than `timeout_s`
    seconds in all, however it trickles, is given up and counts as a failure.
    """

    def __init__(
        self, address: str, timeout_s: float, concurrency: int, patience: Patience | None, account: Account | None
    ) -> None:
        self._address, self.timeout_s = address, timeout_s
        self._patience = patience or Patience()
        self.pace = Pace(concurrency, self._patience.first_wait_s, self._patience.longest_wait_s)
        self._account = account or _NoAccount()
        self._turns = Turns(self.pace)
        self._down = Breaker(self._patience.streak, self._patience.streak_s)
        self._full = Breaker(self._patience.streak, self._patience.full_s)
        allow_open_files(concurrency)
        self._closing, self._closed = threading.Lock(), False
        self._at_stake = 0  # calls in flight that cost something, or nobody knows what
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()

    def make(self, attempt: Attempt[A], most_usd: float | None) -> A:
        """Make one call, which can cost at most `most_usd`; `attempt` is tried again where that may help.

        Raises UserError, LlmRejected or Temporary: see `tuneline.llm.client`.
        """
        with self._closing:
            if self._closed:
                raise Stopped(STOPPED)
            answer = asyncio.run_coroutine_threadsafe(self._make(attempt, most_usd), self._loop)
        try:
            return answer.result()
        except CancelledError:
            raise Stopped(STOPPED) from None

    def close(self, hang_up: Callable[[], Awaitable[None]]) -> None:
        """Let no call begin any more, give those in flight some seconds to end, and hang up."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(hang_up), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _make(self, attempt: Attempt[A], most_usd: float | None) -> A:
        faults: list[Fault] = []
        while True:
            turn = await self._turns.begin()
            heard: dict[str, str] = {}
            HEARD.set(heard)
            try:
                answer = await self._pay(attempt, most_usd)
            except Fault as fault:
                fault.__traceback__ = fault.__context__ = fault.__cause__ = None  # they hold what was answered
                faults.append(fault)
                self._failed(turn, fault, heard)
            except BaseException:
                self.pace.end(turn, taken=False)
                raise
            else:
                self.pace.end(turn, announced=read_announced(heard), usage=answer.usage)
                self._down.success()
                self._full.success()
                return answer
            finally:
                self._turns.go_on()
            await asyncio.sleep(self._wait(faults))

    async def _pay(self, attempt: Attempt[A], most_usd: float | None) -> A:
        """Make one attempt, once there is money for it, and keep count of what it took."""
        while not self._account.reserve(most_usd):
            await asyncio.sleep(MONEY_SECONDS)
        usage, lost = Usage(), True  # whoever cancels this hears no answer that the server may bill
        self._at_stake += most_usd != 0
        try:
            answer = await self._attempt(attempt)
            usage, lost = answer.usage, False
            return answer
        except Fault as fault:
            lost = fault.paid
            raise
        except (LlmRejected, UserError):
            lost = False
            raise
        finally:
            self._at_stake -= most_usd != 0
            self._account.settle(most_usd, usage, lost=lost)

    async def _attempt(self, attempt: Attempt[A]) -> A:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await attempt()
        except TimeoutError:
            said = f"no answer within {self.timeout_s:g} s (a slow server needs a longer time-out)"
            raise Fault(said, paid=True) from None

    def _failed(self, turn: Turn, fault: Fault, heard: Mapping[str, str]) -> None:
        if not fault.pushback:
            self.pace.end(turn, taken=False)
            return
        ordered = fault.wait_s if fault.wait_s and fault.wait_s <= self._patience.longest_ordered_wait_s else None
        self.pace.reject(
            turn, time.monotonic(), wait_s=ordered, overloaded=fault.overloaded, announced=read_announced(heard)
        )

    def _wait(self, faults: Sequence[Fault]) -> float:
        """Return the seconds before the next attempt. Raises Temporary when there is to be none."""
        last, where = faults[-1], self._address
        if (self._full if last.pushback else self._down).failure():
            raise ServerDown(f"{where} is not answering ({last}); run the same command again later")
        if len(faults) >= self._patience.attempts or sum(f.paid for f in faults) >= self._patience.paid_attempts:
            raise Temporary(f"{where}: {last}, after {len(faults)} attempts")
        if last.wait_s is not None and last.wait_s > self._patience.longest_ordered_wait_s:
            says = f"asks to wait {last.wait_s:.0f} s" if last.wait_s < A_DAY_S else "takes no more today"
            raise ServerDown(f"{where} {says} ({last}); run the same command again then")
        if last.pushback:
            return 0.0  # the pace says when
        wait = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2.0 ** (len(faults) - 1))
        return max(last.wait_s or 0.0, wait * random.uniform(0.5, 1))

    async def _end(self, hang_up: Callable[[], Awaitable[None]]) -> None:
        await self._turns.close(DRAIN_SECONDS if self._at_stake else FREE_DRAIN_SECONDS)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await hang_up()


def allow_open_files(connections: int) -> None:
    """Raise this process's own limit of open files, as far as the machine lets it; some begin with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):  # then the system refuses a connection, and says so
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
