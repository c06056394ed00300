"""One model that is asked: every answer is kept as soon as it is there, so that nothing is paid twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TypeVar

import structlog

from tuneline.data.io import Closed, read_row
from tuneline.errors import LlmRejected, Unreadable
from tuneline.llm.client import LlmClient
from tuneline.llm.thoughts import plain_answer
from tuneline.llm.token_counts import CUT
from tuneline.stage import Account, Context, Json, Spent, Usage

log = structlog.get_logger()

VERSION = "1"
"""Part of the journals' scope: raise it when what a model is sent changes."""
_ANOTHER_SEED = 1_000_003
_AGAIN = """

An earlier answer to this very request could not be used: {problem}. Answer with the JSON object alone, in the form \
that is asked for, without any text around it."""

T = TypeVar("T")


class Lost(Exception):  # noqa: N818  (a state of one item: there is no answer to go on with)
    """There is no answer; `status` says why: refused, blocked, too_long, failed, cut, empty, unparsed."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Told(Closed):
    """An answer, or why there is none: a row of the journal."""

    text: str = ""
    status: str = ""
    usage: Usage = Usage()


class Line:
    """Asks one model. Safe for threads."""

    def __init__(self, role: str, client: LlmClient, context: Context, account: Account, tasks: Sequence[str]) -> None:
        self.label = f"{client.config.provider}: {client.config.model}"
        identity = json.dumps(client.config.identity, sort_keys=True)
        self._journals = {task: context.journal(task, VERSION, identity) for task in tasks}
        self._role, self._client, self._account = role, client, account
        self._lock, self._now, self._rows = Lock(), Usage(), dict[str, Usage]()

    def ask(
        self, task: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None = None, seed: int = 0
    ) -> Told:
        """Return the answer to a task, from the journal if it is there.

        Raises UserError or Temporary as the client does, Capped when there is no money for it.
        """
        journal = self._journals[task]
        key = hashlib.sha256(json.dumps([messages, schema, seed], sort_keys=True).encode()).hexdigest()
        told = kept = read_row(journal, key, Told)
        if told is None:
            told = told_by(self._client, messages, schema, seed)
            if told.status != "failed":  # another time it may succeed
                journal.put(key, told.model_dump(mode="json"))
            with self._lock:
                self._now += told.usage
        with self._lock:
            new = self._rows.setdefault(f"{task} {key}", told.usage) is told.usage
        if new and kept:
            self._account.found(kept.usage)
        return told

    def read(
        self, task: str, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json],
        reader: Callable[[str], T], again: int = 0, forgiving: Callable[[str], T] | None = None,
    ) -> T:  # fmt: skip
        """Return what `reader` makes of an answer, asking once more for one that is Unreadable. Raises Lost.

        Another `again` is another answer to the same question. What neither answer holds, `forgiving` may still find.
        """
        answers, asked = list[str](), messages
        for seed in (again, again + _ANOTHER_SEED):
            told = self.ask(task, asked, schema, seed)
            if told.status:
                raise Lost(told.status)
            answers.append(told.text)
            try:
                return reader(told.text)
            except Unreadable as e:
                asked = _with_problem(messages, str(e))
        if forgiving is not None:
            for text in reversed(answers):
                with suppress(Unreadable):
                    return forgiving(text)
        raise Lost("unparsed")

    @property
    def spent(self) -> Spent:
        """What its answers took, and what was paid now."""
        total = sum(self._rows.values(), start=Usage())
        return Spent(role=self._role, model=self._client.config.model, total=total, now=self._now)


def told_by(
    client: LlmClient, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Json] | None, seed: int
) -> Told:
    """Ask a model, and return its answer or why there is none. Raises UserError or Temporary as the client does."""
    try:
        reply = client.complete(messages, schema=schema, seed=seed)
    except LlmRejected as e:
        return Told(status=e.kind)
    text = plain_answer(reply.text)
    status = "refused" if reply.refused else "blocked" if reply.finish_reason == "content_filter" else ""
    if reply.prompt_cut:
        log.warning("a prompt was cut", model=client.config.model, why=CUT)
        status = "too_long"
    if not status and reply.finish_reason in ("length", "context"):
        status = "cut"
    return Told(text=text, status=status or ("" if text else "empty"), usage=reply.usage)


def _with_problem(messages: Sequence[Mapping[str, str]], problem: str) -> list[Mapping[str, str]]:
    """Say at the end what was wrong with an answer: a model that does not draw lots would answer the same again."""
    *others, last = messages
    return [*others, {**last, "content": last["content"] + _AGAIN.format(problem=problem)}]
