"""Where conversations are held: the seats at each arm's server, a real llama-server or an endpoint."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple

from tuneline.model.llama_server import serve
from tuneline.stage import Context, Usage
from tuneline_evaluator.conversations.arms import Model
from tuneline_evaluator.conversations.endpoint import EndpointConfig, open_endpoint
from tuneline_evaluator.conversations.prepare import Prepared
from tuneline_evaluator.conversations.talk import Line, Seat


class Table(NamedTuple):
    """The seats at an arm's server that are free, and a thread for each of them."""

    seats: SimpleQueue[Seat | Line]
    pool: ThreadPoolExecutor


class Tables:
    """Opens the servers of arms; `spent` is what calls to endpoints have taken by now, by arm."""

    def __init__(self, prepared: Prepared, context: Context) -> None:
        self._prepared, self._context = prepared, context
        self._slots = 1 if prepared.params.exact else prepared.params.slots
        self.spent: dict[str, Usage] = {}

    @contextmanager
    def laid(self, models: Sequence[Model], stop: Event) -> Iterator[dict[Model, Table]]:
        """Serve `models` until the block ends; then `stop` is set, and nobody waits for answers that are under way."""
        with ExitStack() as stack:
            logs = Path(stack.enter_context(TemporaryDirectory(prefix="tuneline-")))
            files = sum(isinstance(model.source, Path) for model in models)
            threads = self._prepared.params.threads or max(1, _cores() // max(1, files))
            yield {model: stack.enter_context(self._table(model, threads, logs, stop)) for model in models}

    @contextmanager
    def _table(self, model: Model, threads: int, logs: Path, stop: Event) -> Iterator[Table]:
        with ExitStack() as stack:
            free: SimpleQueue[Seat | Line] = SimpleQueue()
            if isinstance(model.source, Path):
                log = logs / f"{model.arm}.log"
                for seat in stack.enter_context(self._seats(model.source, threads, log, stop)):
                    free.put(seat)
            elif isinstance(model.source, EndpointConfig):
                for line in stack.enter_context(self._lines(model.arm, model.source, stop)):
                    free.put(line)
            pool = ThreadPoolExecutor(self._slots, thread_name_prefix=model.arm)
            try:
                yield Table(free, pool)
            finally:
                # Their server is stopped next, which ends them.
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _seats(self, file: Path, threads: int, log: Path, stop: Event) -> Iterator[list[Seat]]:
        params, tokens, slots = self._prepared.params, self._prepared.plan.context_tokens, self._slots
        placed = self._prepared.placed
        with serve(file, context_tokens=tokens, slots=slots, threads=threads, log=log, placed=placed) as server:
            yield [Seat(server, slot, params.answer_timeout_s, stop) for slot in range(slots)]

    @contextmanager
    def _lines(self, arm: str, config: EndpointConfig, stop: Event) -> Iterator[list[Line]]:
        timeout_s = self._prepared.params.answer_timeout_s
        with open_endpoint(config, self._context, timeout_s=timeout_s, concurrency=self._slots) as endpoint:
            try:
                yield [Line(endpoint, stop)] * self._slots
            finally:
                self.spent[arm] = self.spent.get(arm, Usage()) + endpoint.spent


def _cores() -> int:
    # Two servers whose threads wait for each other's cores are both many times slower, so they share what there is.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
