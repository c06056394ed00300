"""An arm behind an OpenAI-compatible API: the same messages, seeds and sampler, as far as its server takes them.

Each answer is kept in a journal, so none is paid for twice. What a server does not take is left out and remembered with
the answer; what it takes and ignores nobody can see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from tuneline.data.conversations import AnswerFacts
from tuneline.data.io import Closed, read_row
from tuneline.data.serving import SamplerParams
from tuneline.errors import LlmRejected, UserError
from tuneline.llm.config import OpenAiConfig, provider_in, refuse_batch
from tuneline.llm.thoughts import without_thoughts
from tuneline.parsing.yaml import YamlFile
from tuneline.stage import Context, Json, Usage

if TYPE_CHECKING:
    from tuneline.llm.client import LlmClient
    from tuneline.llm.providers.provider import Reply

VERSION = "1"
"""Part of the journal's scope: raise it when what a server is sent changes."""

_OURS = {
    "temperature": "the evaluator's `sampler.temperature`", "max_tokens": "the evaluator's `sampler.max_answer_tokens`",
    "seed": "the evaluator's `seed`", "sampler": "the evaluator's `sampler`",
    "template_options": "`options` of the input `chat_template`",
}  # fmt: skip
"""What no arm has for itself."""


class EndpointConfig(OpenAiConfig):
    """A model that answers as the comparison says: no file has `sampler` and `template_options`."""

    response_format: Literal["json_schema", "json_object"] | None = None
    sampler: SamplerParams | None = None
    template_options: tuple[tuple[str, bool | int | float | str], ...] = ()

    @property
    def sampling(self) -> dict[str, Json]:
        drawn = self.sampler.model_dump(exclude={"max_answer_tokens"}) if self.sampler else {}
        return drawn | ({"chat_template_kwargs": dict(self.template_options)} if self.template_options else {})

    @property
    def label(self) -> str:
        """Name for people: the model, and the server that has it."""
        return f"{self.model} at {urlsplit(self.address).netloc}"


def load_endpoint(
    source: YamlFile, sampler: SamplerParams, template_options: Mapping[str, bool | int | float | str]
) -> EndpointConfig:
    """Read an arm's endpoint. Raises UserError with file, line and field."""
    content = source.content if isinstance(source.content, dict) else {}
    for name, parameter in _OURS.items():
        if name in content:
            raise UserError(f"{source.where((name,))}: all arms answer alike; set {parameter} instead")
    config = provider_in(source, {"openai": EndpointConfig})
    refuse_batch(config, source, "a conversation waits for every answer")
    return config.model_copy(
        update={
            "sampler": sampler, "max_tokens": sampler.max_answer_tokens,
            "template_options": tuple(sorted(template_options.items())),
        }
    )  # fmt: skip


class _Answered(Closed):
    text: str
    facts: AnswerFacts


class Endpoint:
    """Asks an arm's model. Safe for threads."""

    def __init__(self, client: LlmClient, config: EndpointConfig, context: Context) -> None:
        self._client = client
        self._journal = context.journal("answers", VERSION, json.dumps(config.identity, sort_keys=True))
        self._lock, self.spent = Lock(), Usage()

    def answer(self, messages: Sequence[Mapping[str, str]], seed: int) -> tuple[str, AnswerFacts]:
        """Return the model's answer, without what it thought before.

        Raises LlmRejected when it takes no such conversation, UserError when it takes none at all, and Temporary.
        """
        key = hashlib.sha256(json.dumps([[dict(message) for message in messages], seed]).encode()).hexdigest()
        row = read_row(self._journal, key, _Answered)
        if row is None:
            row = self._ask(messages, seed)
            self._journal.put(key, row.model_dump(mode="json"))
        if row.facts.finish_reason == "context":
            raise LlmRejected("too_long", "cut at the end of the model's context")
        return row.text, row.facts

    def _ask(self, messages: Sequence[Mapping[str, str]], seed: int) -> _Answered:
        try:
            reply = self._client.complete(messages, seed=seed)
        except LlmRejected as e:
            if e.kind != "blocked":
                raise
            # What stands before the model is part of what people get: it said nothing.
            blocked = AnswerFacts(finish_reason="content_filter", prompt_tokens=0, evaluated_tokens=0, answer_tokens=0)
            return _Answered(text="", facts=blocked)
        with self._lock:
            self.spent += reply.usage
        said = without_thoughts(reply.text)
        text = said if said == reply.text else said.strip()  # an answer is taken as it is, as those of our own server
        return _Answered(text="" if reply.refused else text, facts=_facts(reply))


@contextmanager
def open_endpoint(
    config: EndpointConfig, context: Context, *, timeout_s: float, concurrency: int
) -> Iterator[Endpoint]:
    """Give the endpoint for as long as the block lasts. Raises UserError when its key is missing."""
    from tuneline.llm.client import LlmClient

    account = context.account("answers", config.model)
    with LlmClient(config, context.secret, timeout_s, concurrency=concurrency, account=account) as client:
        yield Endpoint(client, config, context)


def _facts(reply: Reply) -> AnswerFacts:
    return AnswerFacts(
        finish_reason=reply.finish_reason, prompt_tokens=reply.input_tokens,
        evaluated_tokens=reply.input_tokens - reply.cached_tokens, answer_tokens=reply.output_tokens,
        model=reply.model, left_out=reply.left_out, paid=reply.usage,
    )  # fmt: skip
