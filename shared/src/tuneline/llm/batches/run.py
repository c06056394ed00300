"""Many requests at once, at half the price and without hurry: batches, which outlive the process that hands them in.

What is in which batch is journalled before the batch is handed in, and its id after that. So a run that was killed
finds its batches again and pays once; a batch whose id was lost is looked for by its name. Requests that have expired
or met a fault of the server go into another batch, and so do those whose answers were read and found to be of no use.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from tuneline.errors import Fault, LlmRejected, OverBudget, Temporary, UserError
from tuneline.llm.config import ModelConfig
from tuneline.llm.control_tokens import neutralised
from tuneline.llm.prices import Tokens, cost_usd, most_usd
from tuneline.llm.providers.provider import Reply, Request
from tuneline.stage import Account, Journal, Usage

MOST_REQUESTS, MOST_BYTES = 1_000, 15 * 2**20
"""Of one batch: what the smallest limit of the vendors allows, with room for the answers."""

MOST_ROUNDS = 3
"""Batches that a request may be in."""

DURABLE_S = 1.5
"""After so long a row of a journal is in the store."""

FIRST_POLL_S, LONGEST_POLL_S, SAFE_POINT_S = 1.0, 60.0, 0.5
MOST_FAULTS = 10
"""Faults in a row of the questions how a batch is doing, after which the run stops; the batch goes on."""

log = structlog.get_logger()

Answer = Reply | LlmRejected
T = TypeVar("T")


class Look(NamedTuple):
    """How a batch is doing."""

    ended: bool
    finished: int
    """Requests that are answered."""


class Gone(Exception):  # noqa: N818  (a state of the batch)
    """The server knows no such batch any more."""


class Batches(Protocol):
    """The batches of one vendor. Every method raises Fault or UserError, too."""

    async def submit(self, name: str, requests: Mapping[str, Request]) -> str:
        """Hand in a batch called `name` of requests by id; return the vendor's id."""

    async def find(self, name: str, count: int, since: float) -> str | None:
        """Return the vendor's id of the batch of that name, of so many requests and handed in after `since`."""

    async def look(self, batch: str) -> Look:
        """Return how it is doing. Raises Gone."""

    async def results(self, batch: str, ids: Sequence[str]) -> dict[str, Reply | Exception]:
        """Return what became of its requests, which were handed in in the order of `ids`; some may be missing."""

    async def close(self) -> None:
        """Hang up."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    """The batch; of a request, the one that it is in."""
    requests: list[str] = []
    """Of a batch: its requests, in order."""
    id: str | None = None
    at: float = 0.0
    about: str = ""
    """Of a request: hash of the transcript that it asks about, by which `forget` finds the row."""


def request_id(config: ModelConfig, request: Request) -> str:
    """Return what identifies a request: 32 hex digits."""
    content = [config.provider, config.identity, [dict(m) for m in request.messages], request.schema, request.seed]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


class BatchRun:
    """Gets the answers of many requests by batches; `progress` is told how many are there, and may raise Temporary."""

    def __init__(
        self, config: ModelConfig, batches: Batches, journal: Journal, progress: Callable[[int], None],
        account: Account,
    ) -> None:  # fmt: skip
        self._config, self._batches, self._journal, self._progress = config, batches, journal, progress
        self._account = account
        self._held: dict[str, float | None] = {}
        """What is set aside for each batch that is out, by its name."""
        self._found: dict[str, Answer] = {}

    def answers(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        """Return the answer to each request, by id. Raises UserError, or Temporary: the batches are kept then."""
        return asyncio.run(self._answers(requests))

    def read(self, request: str, about: str) -> None:
        """Note that an answer has been read: who asks the same again was not content, and wants another one."""
        self._journal.put(f"{self._key(request)} read", {"about": about})

    def _key(self, request: str) -> str:
        """Return the key of a request's row; each time that its answer was read, there is another one."""
        key, times = request, 0
        while self._journal.get(f"{key} read") is not None:
            times += 1
            key = f"{request} {times}"
        return key

    async def _answers(self, requests: Mapping[str, Request]) -> dict[str, Answer]:
        tries: Counter[str] = Counter()
        try:
            out = await self._known(requests)
            while left := requests.keys() - self._found.keys():
                if worn := [request for request in left if tries[request] >= MOST_ROUNDS]:
                    raise Temporary(f"{len(worn)} of {len(requests)} requests got no answer in {MOST_ROUNDS} batches")
                waiting = {request for row in out.values() for request in row.requests}
                out |= await self._hand_in({r: requests[r] for r in requests if r in left and r not in waiting})
                for batch, row in out.items():
                    usage = await self._collect(batch, row.requests)
                    self._account.settle(self._held.pop(row.name), usage)
                    tries.update(row.requests)
                out = {}
        finally:
            for most in self._held.values():  # whoever finds the batch again counts what it took
                self._account.settle(most, Usage())
            await self._batches.close()
        return {request: self._found[request] for request in requests}

    async def _known(self, requests: Mapping[str, Request]) -> dict[str, _Row]:
        """Return the batches of earlier runs that hold some of the requests, by the vendor's id."""
        names = dict.fromkeys(row.name for request in requests if (row := self._row(self._key(request))))
        known: dict[str, _Row] = {}
        for name in names:
            row = self._row(name)
            if row is None:
                continue
            batch = row.id or await self._steadily(partial(self._batches.find, name, len(row.requests), row.at))
            if batch is not None:
                log.info("batch found again", batch=batch, requests=len(row.requests))
                self._journal.put(name, row.model_copy(update={"id": batch}).model_dump())
                if not await self._reserve(name, 0.0):  # it is handed in: what it costs is owed already
                    raise OverBudget("max_usd: what is handed in as batches may reach the limit; raise it to go on")
                known[batch] = row.model_copy(update={"name": name})
        return known

    async def _hand_in(self, requests: Mapping[str, Request]) -> dict[str, _Row]:
        """Hand in as many as there is money for; the others wait until it is known what these have taken."""
        out: dict[str, _Row] = {}
        pieces = deque(_pieces(requests))
        while pieces:
            piece = pieces.popleft()
            row = _Row(requests=list(piece), at=time.time())
            name = f"tuneline-{hashlib.sha256(f'{row.at} {row.requests}'.encode()).hexdigest()[:16]}"
            costs = [most_usd(self._config, request.messages, request.schema) for request in piece.values()]
            try:
                if not await self._reserve(name, None if None in costs else sum(filter(None, costs))):
                    break
            except OverBudget:
                if len(piece) == 1:
                    raise
                one_by_one = list(piece.items())
                half = len(one_by_one) // 2
                pieces.extendleft([dict(one_by_one[half:]), dict(one_by_one[:half])])
                continue
            out |= await self._submit(name, row, piece)
        return out

    async def _submit(self, name: str, row: _Row, piece: Mapping[str, Request]) -> dict[str, _Row]:
        self._journal.put(name, row.model_dump())
        for key, request in piece.items():
            self._journal.put(self._key(key), _Row(name=name, about=request.about).model_dump())
        await self._wait(DURABLE_S)
        batch = await self._handed_in(name, piece, row)
        self._journal.put(name, row.model_copy(update={"id": batch}).model_dump())
        log.info("batch handed in", batch=batch, requests=len(piece))
        return {batch: row.model_copy(update={"name": name})}

    async def _reserve(self, name: str, most: float | None) -> bool:
        """Set aside what a batch may cost; False if that waits for a batch that is out."""
        while not self._account.reserve(most):
            if self._held:
                return False
            await self._wait(SAFE_POINT_S)
        self._held[name] = most
        return True

    async def _handed_in(self, name: str, piece: Mapping[str, Request], row: _Row) -> str:
        """Return the id; a batch whose answer was lost may be there all the same, so it is looked for first."""
        faults = 0
        while True:
            try:
                if faults and (found := await self._batches.find(name, len(piece), row.at)):
                    return found
                return await self._batches.submit(name, {key: self._said(request) for key, request in piece.items()})
            except Gone:
                raise UserError(f"{self._config.address} has no batches; use `mode: live`") from None
            except Fault as fault:
                faults += 1
                await self._after(fault, faults)

    def _said(self, request: Request) -> Request:
        return Request(neutralised(request.messages), request.schema, self._config.drawn_seed(request.seed or 0))

    async def _collect(self, batch: str, requests: Sequence[str]) -> Usage:
        """Wait for a batch, take its answers and return what they took; what has expired stays unanswered."""
        wait_s = FIRST_POLL_S
        try:
            while not (look := await self._steadily(partial(self._batches.look, batch))).ended:
                await self._wait(wait_s, look.finished)
                wait_s = min(LONGEST_POLL_S, wait_s * 1.5)
            results = await self._steadily(partial(self._batches.results, batch, requests))
        except Gone:
            log.warning("batch is gone: its requests are asked again", batch=batch)
            return Usage()
        usage = Usage()
        for request, result in results.items():
            if isinstance(result, UserError):
                raise result
            if isinstance(result, Reply):
                priced = result._replace(cost_usd=self._cost(result))
                self._found[request], usage = priced, usage + priced.usage
            elif isinstance(result, LlmRejected):
                self._found[request] = result
        return usage

    def _cost(self, reply: Reply) -> float | None:
        tokens = Tokens(reply.input_tokens, reply.cached_tokens, reply.cache_write_tokens, reply.output_tokens)
        return cost_usd(self._config, tokens, batch=True)

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
                self._progress(len(self._found) + finished)
            except Temporary:
                raise Temporary(
                    "stopped; the batch goes on at its vendor: the same command finds it again and pays nothing twice"
                ) from None
            if (left := until - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(SAFE_POINT_S, left))

    def _row(self, key: str) -> _Row | None:
        row = self._journal.get(key)
        try:
            return None if row is None else _Row.model_validate(row)
        except ValidationError:
            log.warning("a row of the journal is not what was written: passed over", key=key)
            return None


def _pieces(requests: Mapping[str, Request]) -> Iterator[dict[str, Request]]:
    """Cut requests into batches of a size that every vendor takes."""
    piece: dict[str, Request] = {}
    size = 0
    for request_id, request in requests.items():
        weight = len(json.dumps([[dict(message) for message in request.messages], request.schema])) + 1_000
        if piece and (len(piece) >= MOST_REQUESTS or size + weight > MOST_BYTES):
            yield piece
            piece, size = {}, 0
        piece[request_id] = request
        size += weight
    if piece:
        yield piece
