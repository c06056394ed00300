"""Many requests at once, at half the price and without hurry: batches, which outlive the process that hands them in.

A run that was killed finds its batches again and pays once; a batch whose id was lost is looked for by its name.
Requests that have expired or met a fault of the server go into another batch, and so do those whose answers were read
and found to be of no use. A batch that the vendor did not take holds nothing, and is forgotten at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import structlog

from tuneline.errors import Fault, LlmRejected, OverBudget, Stopped, Temporary, UserError
from tuneline.llm.batches.bodies import NoBatch
from tuneline.llm.batches.kept import Batch, Kept, Row
from tuneline.llm.batches.pieces import MOST_REQUESTS, Piece, batch_name, batch_priced, halves, pieces
from tuneline.llm.batches.protocol import Batches, Failed, Gone, Look
from tuneline.llm.config import ModelConfig
from tuneline.llm.control_tokens import neutralised
from tuneline.llm.prices import most_usd
from tuneline.llm.providers.provider import Reply, Request
from tuneline.stage import Account, Journal, Usage

MOST_ROUNDS = 3
"""Batches that a request may be in."""

DURABLE_S = 1.5
"""After so long a row of a journal is in the store."""

FIRST_POLL_S, LONGEST_POLL_S, SAFE_POINT_S = 1.0, 60.0, 0.5
MOST_FAULTS = 10
"""Faults in a row of the questions how a batch is doing, after which the run stops; the batch goes on."""

MOST_CROWDED = 5
"""Times that a vendor has no room for a batch, after which fewer requests are handed in at once."""

MOST_STRANGE = 5
"""Answers to handing in that are no batch, after which the server is taken to have none."""

GOES_ON = (
    "A run that is stopped cancels no batch: the batch goes on at its vendor, and the same command finds it again and "
    "pays nothing twice"
)
TOLD_S = 3_600.0
"""How often is said that the run still waits."""

log = structlog.get_logger()

Answer = Reply | LlmRejected
T = TypeVar("T")


class BatchRun:
    """Gets the answers of many requests by batches; `progress` is told how many are there, and may raise Temporary."""

    def __init__(
        self, config: ModelConfig, batches: Batches, journal: Journal, progress: Callable[[int], None],
        account: Account,
    ) -> None:  # fmt: skip
        self._config, self._batches, self._kept, self._progress = config, batches, Kept(journal), progress
        self._account, self._host = account, urlsplit(config.address).netloc
        self._held: dict[str, float | None] = {}
        """What is set aside for each batch that is out, by its name."""
        self._ids = set[str]()
        """Of the batches that are known: none of them is the one whose id was lost."""
        self.found: dict[str, Answer] = {}
        self._tries: Counter[str] = Counter()
        self._most_requests = MOST_REQUESTS
        """Of one batch; less where the vendor's queue has no room for so many."""

    def answers(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        """Return the answer to each request, by id. Raises UserError, or Temporary: the batches are kept then."""
        return asyncio.run(self._answers(requests))

    def read(self, request: str, about: str) -> None:
        """Note that an answer has been read: who asks the same again was not content, and wants another one."""
        self._kept.read(request, about)

    async def _answers(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        try:
            out = await self._known(requests)
            while left := requests.keys() - self.found.keys():
                if worn := [request for request in left if self._tries[request] >= MOST_ROUNDS]:
                    raise Temporary(f"{len(worn)} of {len(requests)} requests got no answer in {MOST_ROUNDS} batches")
                waiting = {request for batch in out for request in batch.row.requests}
                out += await self._hand_in({r: requests[r] for r in requests if r in left and r not in waiting})
                self._tell(count := sum(len(batch.row.requests) for batch in out), len(left) - count)
                for batch in out:
                    await self._finish(batch, requests)
                out = []
        finally:
            for most in self._held.values():  # whoever finds the batch again counts what it took
                self._account.settle(most, Usage())
            await self._batches.close()
        return {request: self.found[request] for request in requests}

    async def _known(self, requests: Mapping[str, Request]) -> list[Batch]:
        """Return the batches of earlier runs that hold some of the requests."""
        known: list[Batch] = []
        for name, row in self._kept.batches(requests).items():
            found = [row.id] if row.id else await self._steadily(partial(self._find, name, row))
            if not found:
                continue
            batch = self._as_batch(found[0], name, row)
            log.info("batch found again", batch=batch.id, requests=len(row.requests))
            self._kept.note(batch, cancelled=row.cancelled, counted=row.counted)
            if not await self._reserve(name, 0.0):  # it is handed in: what it costs is owed already
                raise OverBudget("max_usd: what is handed in as batches may reach the limit; raise it to go on")
            known.append(batch)
        return known

    async def _find(self, name: str, row: Row) -> list[str]:
        found = await self._batches.find(name, len(row.requests), row.at)
        return [batch for batch in found if batch not in self._ids]

    def _as_batch(self, batch: str, name: str, row: Row) -> Batch:
        self._ids.add(batch)
        return Batch(batch, name, row)

    async def _hand_in(self, requests: Mapping[str, Request]) -> list[Batch]:
        """Hand in as many as there is money and room for; the others wait until it is known what these have taken."""
        out: list[Batch] = []
        left = deque(pieces(requests, self._most_requests))
        while left:
            piece, at = left.popleft(), time.time()
            name = batch_name(piece, at)
            costs = [most_usd(self._config, request.messages, request.schema, batch=True) for request in piece.values()]
            try:
                if not await self._reserve(name, None if None in costs else sum(filter(None, costs))):
                    break
            except OverBudget:
                if len(piece) == 1:
                    raise
                left.extendleft(reversed(halves(piece)))
                continue
            batch = await self._submit(name, Row(requests=list(piece), at=at), piece)
            if batch is None:
                break
            out.append(batch)
        return out

    async def _submit(self, name: str, row: Row, piece: Piece) -> Batch | None:
        """Hand in one batch; None if the vendor has no room for it, or none beside those that are out."""
        self._kept.about_to_hand_in(name, row, piece)
        await self._wait(DURABLE_S)
        found = await self._handed_in(name, row, piece)
        if found is None:
            self._account.settle(self._held.pop(name), Usage())
            return None
        batch = self._as_batch(found, name, row)
        self._kept.note(batch)
        log.info("batch handed in", batch=batch.id, requests=len(piece))
        return batch

    async def _reserve(self, name: str, most: float | None) -> bool:
        """Set aside what a batch may cost; False if that waits for a batch that is out."""
        while not self._account.reserve(most):
            if self._held:
                return False
            await self._wait(SAFE_POINT_S)
        self._held[name] = most
        return True

    async def _handed_in(self, name: str, row: Row, piece: Piece) -> str | None:
        """Return the id; a batch whose answer was lost may be there all the same, so it is looked for first."""
        faults, strange = 0, 0
        while True:
            try:
                if faults and (found := await self._find(name, row)):
                    return found[0]
                return await self._batches.submit(name, {key: self._said(request) for key, request in piece.items()})
            except Gone:
                raise UserError(f"{self._config.address} has no batches; use `mode: live`") from None
            except Fault as fault:
                faults, strange = faults + 1, strange + isinstance(fault, NoBatch)
                if fault.pushback and len(self._held) > 1:
                    return None
                if fault.pushback and faults > MOST_CROWDED and len(piece) > 1:
                    self._most_requests = len(piece) // 2
                    return None
                if strange >= MOST_STRANGE:
                    raise UserError(f"{self._config.address} takes no batches ({fault}); use `mode: live`") from None
                await self._after(fault, faults)

    def _said(self, request: Request) -> Request:
        return Request(neutralised(request.messages), request.schema, self._config.drawn_seed(request.seed or 0))

    async def _finish(self, batch: Batch, requests: Mapping[str, Request]) -> None:
        """Wait for a batch and take its answers; what has expired stays unanswered. Raises UserError if something of
        it is our fault, or somebody's wish."""
        usage, problem = Usage(), None
        try:
            look, results = await self._ended(batch)
            taken = self._take(results)
            usage = Usage() if batch.row.counted else taken
            problem = self._problem(batch, look, results, requests)
        except Gone:
            log.warning("batch is gone: its requests are asked again", batch=batch.id)
            self._tries.update(batch.row.requests)
        except Failed as failed:
            self._kept.note(batch, failed=True)
            await self._after_failure(failed, batch)
        finally:
            self._account.settle(self._held.pop(batch.name), usage)
        if problem:
            raise problem

    async def _ended(self, batch: Batch) -> tuple[Look, Mapping[str, Reply | Exception]]:
        wait_s, told = FIRST_POLL_S, time.monotonic()
        while not (look := await self._steadily(partial(self._batches.look, batch.id))).ended:
            await self._wait(wait_s, look.finished)
            wait_s = min(LONGEST_POLL_S, wait_s * 1.5)
            if time.monotonic() - told > TOLD_S:
                told = time.monotonic()
                self._tell(len(batch.row.requests) - look.finished)
        results = await self._steadily(partial(self._batches.results, batch.id, batch.row.requests))
        return look, {key: result for key, result in results.items() if self._kept.is_in(key, batch.name)}

    def _take(self, results: Mapping[str, Reply | Exception]) -> Usage:
        usage = Usage()
        for request, result in results.items():
            if isinstance(result, Reply):
                priced = batch_priced(self._config, result)
                self.found[request], usage = priced, usage + priced.usage
            elif isinstance(result, LlmRejected):
                self.found[request] = result
        return usage

    def _problem(
        self, batch: Batch, look: Look, results: Mapping[str, Reply | Exception], requests: Mapping[str, Request]
    ) -> UserError | None:
        """Note that a batch has ended; return why no other one may be handed in before a person has looked."""
        self._kept.note(batch, counted=True, cancelled=look.cancelled)
        self._tries.update(batch.row.requests)
        ours = {key: e for key, e in results.items() if isinstance(e, UserError) and key in requests}
        for key in ours:  # whoever mends us asks them again
            self._kept.read(key, requests[key].about)
        if ours:
            return next(iter(ours.values()))
        if look.cancelled and not batch.row.cancelled:
            here = sum(isinstance(result, Reply | LlmRejected) for result in results.values())
            return UserError(
                f"batch {batch.id} was cancelled at {self._host} when {here} of its {len(batch.row.requests)} requests "
                "had an answer. Those are kept; run the same command again to hand in the others"
            )
        return None

    async def _after_failure(self, failed: Failed, batch: Batch) -> None:
        count = len(batch.row.requests)
        if isinstance(failed.cause, UserError):
            raise failed.cause
        log.warning("the vendor did not take a batch", batch=batch.id, requests=count, why=str(failed))
        if not failed.crowded:
            self._tries.update(batch.row.requests)
        elif count > 1 or len(self._held) > 1:
            self._most_requests = min(self._most_requests, max(1, count // 2))
        else:
            raise Temporary(f"{self._host}: {failed}; run the same command again later")
        if len(self._held) == 1:
            await self._wait(max(failed.cause.wait_s or 0.0, FIRST_POLL_S))

    def _tell(self, count: int, later: int = 0) -> None:
        """Say that the run waits, and that this may be left to itself; `tuneline run` shows what begins so."""
        rest = f"; {later} more follow when there is money (`max_usd`) or room at the vendor's" if later > 0 else ""
        log.info(f"waiting for {count} answers by batches of {self._host}, which may take a day{rest}. {GOES_ON}")

    async def _steadily(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. Raises Temporary after too many faults in a row."""
        faults = 0
        while True:
            try:
                return await ask()
            except Fault as fault:
                faults += 1
                await self._after(fault, faults)

    async def _after(self, fault: Fault, faults: int) -> None:
        if faults >= MOST_FAULTS:
            raise Temporary(
                f"{self._config.address}: {fault}; what was handed in is kept, run the same command again later"
            )
        await self._wait(max(fault.wait_s or 0.0, min(LONGEST_POLL_S, FIRST_POLL_S * 2.0**faults)))

    async def _wait(self, seconds: float, finished: int = 0) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                self._progress(len(self.found) + finished)
            except Temporary:
                raise Stopped(f"stopped; {GOES_ON}") from None
            if (left := until - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(SAFE_POINT_S, left))
