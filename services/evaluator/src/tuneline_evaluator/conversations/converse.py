"""Conversations of the personas with both arms, each behind a real llama-server.

Both arms get the same personas, seeds, sampler and context. A finished conversation goes into a journal whose scope is
the model file and everything else that shapes it, and nothing of the other arm: a killed run goes on with what is
missing, and the base arm's conversations serve every later fine-tune.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.io import read_row
from tuneline.errors import Temporary
from tuneline.model.llama_server import Server, serve
from tuneline.stage import Context
from tuneline_evaluator.conversations.arms import Model
from tuneline_evaluator.conversations.prepare import Prepared
from tuneline_evaluator.conversations.simulate import Simulator
from tuneline_evaluator.conversations.talk import Plan, Seat, Speaker, talk

VERSION = "1"
"""Part of the journal's scope: raise it when the same plan would make other conversations."""


class Held(NamedTuple):
    """All conversations, sorted by persona, trial and arm, and how many of them a journal already had."""

    conversations: list[Conversation]
    from_journal: int


class _Talk(NamedTuple):
    """One conversation to hold."""

    model: Model
    persona: Speaker
    trial: int

    @property
    def key(self) -> str:
        """Key in the model's journal; a persona whose text changed is another one."""
        return f"{self.persona.sha256}/{self.trial}"


class _Table(NamedTuple):
    """A server with its free slots and one thread for each of them."""

    server: Server
    slots: SimpleQueue[int]
    pool: ThreadPoolExecutor


def hold_conversations(prepared: Prepared, simulator: Simulator, context: Context) -> Held:
    """Let each persona hold its conversations with each model.

    Raises Temporary when stopped, out of luck, or when an arm gave no answer at all.
    """
    params, models = prepared.params, prepared.models
    journals = {model: context.journal(*_scope(prepared.plan, simulator, model)) for model in models}
    # Persona by persona and arm by arm, so that whatever changes on the machine meanwhile changes for both arms.
    jobs = [_Talk(m, persona, trial) for trial in range(params.trials) for persona in prepared.personas for m in models]
    rows = {job: read_row(journals[job.model], job.key, Conversation) for job in jobs}
    held = [conversation for conversation in rows.values() if conversation]
    known = len(held)

    def keep(job: _Talk, conversation: Conversation) -> None:
        held.append(conversation)
        if conversation.status != "broken":  # a server's bad day is no property of the model: the next run tries again
            journals[job.model].put(job.key, conversation.model_dump(mode="json"))

    for group in [models] if params.interleave else [[model] for model in models]:
        missing = [job for job, row in rows.items() if not row and job.model in group]
        _hold(missing, prepared, simulator, keep, lambda: context.progress(len(held), len(jobs)))
    for model in models:
        mine = [conversation for conversation in held if conversation.arm == model.arm]
        if all(conversation.status == "broken" for conversation in mine):
            raise Temporary(f"none of the {len(mine)} conversations with the {model.arm} arm got an answer")
    return Held(sorted(held, key=lambda c: (c.persona, c.trial, c.arm)), known)


def _scope(plan: Plan, simulator: Simulator, model: Model) -> tuple[str, ...]:
    said_by = (model.arm, model.sha256, model.facts.file, model.facts.server)
    return "conversations", VERSION, *said_by, plan.scope, simulator.scope


def _hold(
    jobs: Sequence[_Talk], prepared: Prepared, simulator: Simulator,
    keep: Callable[[_Talk, Conversation], None], report: Callable[[], None],
) -> None:  # fmt: skip
    """Hold `jobs`, each on a free slot of its model's server; an arm without jobs needs no server."""
    stop = Event()
    with ExitStack() as stack:
        logs = Path(stack.enter_context(TemporaryDirectory(prefix="tuneline-")))
        models = list(dict.fromkeys(job.model for job in jobs))
        threads = prepared.params.threads or max(1, _cores() // max(1, len(models)))
        tables = {m: stack.enter_context(_table(m, prepared, threads, logs, stop)) for m in models}
        waiting: dict[Future[Conversation], _Talk] = {}
        for job in jobs:
            table = tables[job.model]
            waiting[table.pool.submit(_hold_one, table, job, prepared, simulator, stop)] = job
        while waiting:
            done, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                keep(waiting.pop(future), future.result())
            report()


@contextmanager
def _table(model: Model, prepared: Prepared, threads: int, logs: Path, stop: Event) -> Iterator[_Table]:
    slots = 1 if prepared.params.exact else prepared.params.slots
    free: SimpleQueue[int] = SimpleQueue()
    for slot in range(slots):
        free.put(slot)
    log, tokens = logs / f"{model.arm}.log", prepared.plan.context_tokens
    with serve(model.path, context_tokens=tokens, slots=slots, threads=threads, log=log) as server:
        pool = ThreadPoolExecutor(slots, thread_name_prefix=model.arm)
        try:
            yield _Table(server, free, pool)
        finally:
            # Nobody waits for answers that are under way: their server is stopped next, which ends them.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _cores() -> int:
    # Two servers whose threads wait for each other's cores are both many times slower, so they share what there is.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _hold_one(table: _Table, job: _Talk, prepared: Prepared, simulator: Simulator, stop: Event) -> Conversation:
    slot = table.slots.get()
    try:
        seat = Seat(table.server, slot, prepared.params.answer_timeout_s, stop)
        return talk(seat, prepared.plan, job.persona, job.trial, job.model.arm, simulator, prepared.tokenizer)
    finally:
        table.slots.put(slot)
