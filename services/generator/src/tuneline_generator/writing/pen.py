"""The pen: what the writer wrote is kept step by step, so that nothing is paid twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pydantic import Field

from tuneline.data.io import Closed, read_row
from tuneline.llm.completion import Finish
from tuneline.stage import Context, Json, Usage
from tuneline_generator.writing.clock import Clock
from tuneline_generator.writing.recipe import Step
from tuneline_generator.writing.rows import sha256
from tuneline_generator.writing.tally import Tally
from tuneline_generator.writing.writer import Form, Writer

VERSIONS: Mapping[Form, str] = {"completion": "1", "chat": "2"}
"""Part of the journals' scope: raise it when the same prompt and seed would give another text."""


class Text(Closed):
    """What the writer wrote in one step: a row of the journal."""

    text: str
    finish: Finish
    word: str = ""
    """The stop string that ended it, where it is known."""
    tokens_in: int = Field(ge=0)
    tokens_out: int = Field(ge=0)
    cost_usd: float | None = None
    """None: the price is not known."""
    seconds: float = 0.0
    """Its part of the time in which the writer was at work."""
    at: str = ""
    """When it was written, UTC."""

    @property
    def usage(self) -> Usage:
        return Usage(
            calls=1, input_tokens=self.tokens_in, output_tokens=self.tokens_out, cost_usd=self.cost_usd or 0.0,
            unpriced=int(self.cost_usd is None),
        )  # fmt: skip


class Pen:
    """Writes the steps of items, or finds them written. Safe for threads."""

    def __init__(self, writer: Writer, form: Form, steps: Mapping[str, Step], context: Context) -> None:
        self._writer, self._form, self._steps = writer, form, steps
        scopes = {name: (form, step.model_dump_json(), writer.identity) for name, step in steps.items()}
        self._journals = {n: context.journal("write", VERSIONS[form], *scope) for n, scope in scopes.items()}
        self._clock, self.tally = Clock(), Tally(writer.account)

    def write(
        self, step: str, prompt: str, seed: int, *, system: str = "", before: Sequence[Mapping[str, str]] = (),
        schema: Mapping[str, Json] | None = None,
    ) -> Text:  # fmt: skip
        """Return the text of a step; in a chat below a system prompt and behind other messages, or by a JSON schema.

        Raises LlmRejected, UserError or Temporary as the writer's client does, Capped when there is no money for it.
        """
        above = [{"role": "system", "content": system}] if system else []
        messages = [*above, *before, {"role": "user", "content": prompt}]
        said = json.dumps(messages) if len(messages) > 1 else prompt
        journal, key = self._journals[step], f"{step}/{sha256(said)}/{seed}"
        kept = read_row(journal, key, Text)
        if kept is not None:
            self.tally.find(kept.usage, kept.seconds)
            return kept
        began = self._clock.begin()
        try:
            kept = self._ask(step, messages, seed, schema)
        finally:
            seconds = self._clock.end(began)
        took = {"seconds": round(seconds, 3), "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        kept = kept.model_copy(update=took)
        journal.put(key, kept.model_dump(mode="json"))
        self.tally.pay(kept.usage)
        self.tally.take(kept.usage)
        return kept

    def _ask(
        self, step: str, messages: Sequence[Mapping[str, str]], seed: int, schema: Mapping[str, Json] | None
    ) -> Text:
        sampler = self._steps[step].sampler
        if self._form == "completion":
            told = self._writer.complete(messages[-1]["content"], sampler, seed=seed)
        else:
            told = self._writer.chat(messages, sampler, seed=seed, schema=schema)
        return Text(
            text=told.text, finish=told.finish, word=told.word, tokens_in=told.tokens_in, tokens_out=told.tokens_out,
            cost_usd=told.cost_usd,
        )  # fmt: skip
