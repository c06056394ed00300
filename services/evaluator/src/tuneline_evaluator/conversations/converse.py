"""Conversations of the personas with all arms, each behind a real llama-server or an endpoint.

Both arms get the same personas, seeds, sampler and context. A finished conversation goes into a journal whose scope is
the model file and everything else that shapes it, and nothing of the other arm: a killed run goes on with what is
missing, and the base arm's conversations serve every later fine-tune.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Event
from typing import NamedTuple

from tuneline.data.conversations import Arm, Conversation
from tuneline.data.io import read_row
from tuneline.errors import Temporary
from tuneline.judge.simulators.simulator import Simulator
from tuneline.stage import Context, Cost, Spent, Usage
from tuneline_evaluator.conversations.arms import Model
from tuneline_evaluator.conversations.endpoint import EndpointConfig
from tuneline_evaluator.conversations.prepare import Prepared
from tuneline_evaluator.conversations.recorded import Recorded, conversation_of
from tuneline_evaluator.conversations.tables import Table, Tables
from tuneline_evaluator.conversations.talk import Plan, Speaker, talk

VERSION = "1"
"""Part of the journal's scope: raise it when the same plan would make other conversations."""


class Held(NamedTuple):
    """All conversations, sorted by persona, trial and arm, and how many of them a journal already had."""

    conversations: list[Conversation]
    from_journal: int
    cost: Cost
    """Of the answers of endpoints."""


class _Talk(NamedTuple):
    """One conversation to hold."""

    model: Model
    persona: Speaker
    trial: int

    @property
    def key(self) -> str:
        """Key in the model's journal; a persona whose text changed is another one."""
        return f"{self.persona.sha256}/{self.trial}"

    def recorded(self, seed: int) -> Conversation | None:
        """Return it if it exists already."""
        source = self.model.source
        if not isinstance(source, Recorded):
            return None
        return conversation_of(source, self.model.arm, self.persona, self.trial, seed)


def hold_conversations(prepared: Prepared, simulator: Simulator, context: Context) -> Held:
    """Let each persona hold its conversations with each model.

    Raises Temporary when stopped, out of luck, or when an arm gave no answer at all.
    """
    params, models = prepared.params, prepared.models
    journals = {model: context.journal(*_scope(prepared.plan, simulator, model)) for model in models}
    # Persona by persona and arm by arm, so that whatever changes on the machine meanwhile changes for both arms.
    jobs = [_Talk(m, persona, trial) for trial in range(params.trials) for persona in prepared.personas for m in models]
    recorded = [job for job in jobs if isinstance(job.model.source, Recorded)]
    jobs = [job for job in jobs if not isinstance(job.model.source, Recorded)]
    rows = {job: read_row(journals[job.model], job.key, Conversation) for job in jobs}
    held = [conversation for conversation in rows.values() if conversation]
    known, tables = len(held), Tables(prepared, context)
    held += filter(None, (job.recorded(params.seed) for job in recorded))
    whole = len(jobs) + len(recorded)
    context.tell("talking to the models")

    def keep(job: _Talk, conversation: Conversation) -> None:
        held.append(conversation)
        if conversation.status != "broken":  # a server's bad day is no property of the model: the next run tries again
            journals[job.model].put(job.key, conversation.model_dump(mode="json"))

    both = [models[:2]] if params.interleave else [[model] for model in models[:2]]
    for group in [*both, *([model] for model in models[2:])]:  # further ones never share memory with others
        missing = [job for job, row in rows.items() if not row and job.model in group]
        _hold(missing, tables, prepared, simulator, keep, lambda: context.progress(len(held), whole))
    for model in models:
        mine = [conversation for conversation in held if conversation.arm == model.arm]
        if not isinstance(model.source, Recorded) and all(conversation.status == "broken" for conversation in mine):
            raise Temporary(f"none of the {len(mine)} conversations with the {model.arm} arm got an answer")
    ordered = sorted(held, key=lambda c: (c.persona, c.trial, c.arm))
    return Held(ordered, known, _cost(ordered, models, tables.spent))


def _scope(plan: Plan, simulator: Simulator, model: Model) -> tuple[str, ...]:
    computed_on = () if model.facts.computed_on in (None, "processor") else (model.facts.computed_on,)
    said_by = (model.arm, model.identity, model.facts.file or "", model.facts.server or "", *computed_on)
    return "conversations", VERSION, *said_by, plan.scope, simulator.scope


def _hold(
    jobs: Sequence[_Talk], tables: Tables, prepared: Prepared, simulator: Simulator,
    keep: Callable[[_Talk, Conversation], None], report: Callable[[], None],
) -> None:  # fmt: skip
    """Hold `jobs`, each on a free seat of its model's server; an arm without jobs needs no server."""
    stop = Event()
    with tables.laid(list(dict.fromkeys(job.model for job in jobs)), stop) as laid:
        waiting: dict[Future[Conversation], _Talk] = {}
        for job in jobs:
            table = laid[job.model]
            waiting[table.pool.submit(_hold_one, table, job, prepared, simulator)] = job
        while waiting:
            done, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                keep(waiting.pop(future), future.result())
            report()


def _hold_one(table: Table, job: _Talk, prepared: Prepared, simulator: Simulator) -> Conversation:
    seat = table.seats.get()
    try:
        return talk(seat, prepared.plan, job.persona, job.trial, job.model.arm, simulator, prepared.tokenizer)
    finally:
        table.seats.put(seat)


def _cost(held: Sequence[Conversation], models: Sequence[Model], now: Mapping[Arm, Usage]) -> Cost:
    """Return what the answers of endpoints cost: those of `held`, and the calls that were made `now`."""
    rows = []
    for model in models:
        if isinstance(model.source, EndpointConfig):
            paid = (a.paid for talk in held if talk.arm == model.arm for a in talk.answers if a.paid)
            total, spent = sum(paid, start=Usage()), now.get(model.arm, Usage())
            rows.append(Spent(role="answers", model=model.source.model, total=total, now=spent))
    return Cost.of(*rows)
