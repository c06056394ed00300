"""Conversations of the personas with both arms, each behind a real llama-server.

Both arms get the same personas, seeds, sampler and context. A finished conversation goes into a journal whose scope is
the model file and everything else that shapes it, and nothing of the other arm: a killed run goes on with what is
missing, and the base arm's conversations serve every later fine-tune.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event
from typing import NamedTuple

from tuneline.chat import ChatTokenizer
from tuneline.llama_cpp import Server, serve
from tuneline.stage import Context, Journal
from tuneline_evaluator.arms import Model
from tuneline_evaluator.conversation import Conversation
from tuneline_evaluator.personas import Persona
from tuneline_evaluator.simulate import Simulator
from tuneline_evaluator.talk import Plan, Seat, Stopped, talk


class Pace(NamedTuple):
    """How fast the conversations are held."""

    interleave: bool
    slots: int
    threads: int | None
    answer_timeout_s: float


class Held(NamedTuple):
    """All conversations, sorted by persona, trial and arm, and how many of them a journal already had."""

    conversations: list[Conversation]
    from_journal: int


class _Job(NamedTuple):
    model: Model
    persona: Persona
    trial: int


def hold_conversations(
    plan: Plan,
    personas: Sequence[Persona],
    trials: int,
    models: Sequence[Model],
    simulator: Simulator,
    tokenizer: ChatTokenizer,
    pace: Pace,
    context: Context,
) -> Held:
    """Let each persona hold `trials` conversations with each model. Raises Temporary when stopped or out of luck."""
    journals = {model.arm: context.journal(*_scope(plan, model, simulator)) for model in models}
    # Persona by persona and arm by arm, so that whatever changes while they run changes for both arms.
    jobs = [_Job(model, persona, trial) for trial in range(trials) for persona in personas for model in models]
    done = {_name(job): found for job in jobs if (found := _from_journal(journals[job.model.arm], job))}
    known = len(done)
    for group in [models] if pace.interleave else [[model] for model in models]:
        missing = [job for job in jobs if job.model in group and _name(job) not in done]
        for conversation in _hold(missing, plan, simulator, tokenizer, pace, context, len(done), len(jobs)):
            done[conversation.id] = conversation
            if conversation.status != "broken":  # a server's bad day is no property of the model: try again next time
                journals[conversation.arm].put(_key(conversation, personas), conversation.model_dump(mode="json"))
    return Held(sorted(done.values(), key=lambda c: (c.persona, c.trial, c.arm)), known)
