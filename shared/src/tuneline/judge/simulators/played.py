"""Personas played by a language model."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import model_validator

from tuneline.data.conversations import Said
from tuneline.data.io import Closed, read_row
from tuneline.data.personas import Persona
from tuneline.errors import LlmRejected, NothingSaid, UserError
from tuneline.llm.client import LlmClient
from tuneline.llm.config import ModelConfig, Secret
from tuneline.llm.thoughts import plain_answer
from tuneline.llm.token_counts import CUT
from tuneline.stage import Account, Context, Cost, Spent, Usage

if TYPE_CHECKING:
    from tuneline.llm.providers.provider import Reply

log = structlog.get_logger()

PROMPT_VERSION = "2"
"""Part of the journal's scope: raise it when what a model is sent changes."""

_CARD = """\
You play a person who talks to an assistant, so that the assistant can be evaluated. Stay in the role whatever it says.

Name: {persona.name}
Age: {persona.age_range}
Character: {traits}
Way of writing: {persona.communication_style}
On their mind:
{topics}
How they develop while they talk: {persona.trajectory}

Write only this person's next message, in their words and at the length they would choose. Bring in what is on their
mind little by little. Never speak for the assistant, and never mention that you play a role."""
_BEGIN = "(The assistant is ready. Write your first message to it.)"
_ANOTHER_SEED = 1_000_003


class _PlayedLine(Closed):
    text: str
    usage: Usage = Usage()

    @model_validator(mode="before")
    @classmethod
    def _older(cls, row: dict[str, Any]) -> dict[str, Any]:
        if "cost_usd" not in row:
            return row
        return {"text": row.get("text"), "usage": {"calls": 1, "cost_usd": row["cost_usd"]}}


class PlayedSimulator:
    """Lets a language model play the personas. Each message is kept in a journal, so none is paid for twice."""

    reacts = True

    def __init__(self, client: LlmClient, context: Context, account: Account) -> None:
        self.label = f"{client.config.provider}: {client.config.model}"
        self.scope = f"{client.config.provider} {PROMPT_VERSION} {json.dumps(client.config.identity, sort_keys=True)}"
        self._spent = Usage()
        self._client, self._journal = client, context.journal("simulator", self.scope)
        self._account = account
        self._lock = Lock()
        self._asking: defaultdict[str, Lock] = defaultdict(Lock)

    def speak(self, persona: Persona, seed: int, said: Sequence[Said]) -> str:
        """Ask the model for the persona's next message, and once more if it has nothing to say."""
        messages = as_played(persona, said)
        key = _key(messages, seed)
        with self._lock:
            first, asking = key not in self._asking, self._asking[key]
        with asking:  # both arms open with the same question: one of them asks, the other waits for the same answer
            if row := read_row(self._journal, key, _PlayedLine):
                if first:
                    self._account.found(row.usage)
                return row.text
            usage, why = Usage(), ""
            for drawn in (seed, seed + _ANOTHER_SEED):
                text, why, paid = self._ask(messages, drawn)
                usage += paid
                if text:
                    self._journal.put(key, _PlayedLine(text=text, usage=usage).model_dump())
                    return text
            log.warning("the simulator said nothing", persona=persona.id, why=why)
            raise NothingSaid(why)

    def cost(self, asked: Iterable[tuple[Persona, int, Sequence[Said]]]) -> Cost:
        # A message that both arms were opened with was paid for once.
        keys = {_key(as_played(persona, said), seed) for persona, seed, said in asked}
        rows = filter(None, (read_row(self._journal, key, _PlayedLine) for key in keys))
        total = sum((row.usage for row in rows), start=Usage())
        return Cost.of(Spent(role="simulator", model=self._client.config.model, total=total, now=self._spent))

    def _ask(self, messages: Sequence[dict[str, str]], seed: int) -> tuple[str, str, Usage]:
        """Return the text, empty if there is none, why it is, and what it cost."""
        try:
            # All of it is sent again with the next message, so servers that cache on demand are told to.
            *before, last = messages
            reply = self._client.complete([*before, {**last, "shared": last["content"], "content": ""}], seed=seed)
        except LlmRejected as e:
            return "", str(e), Usage()
        with self._lock:
            self._spent += reply.usage
        text, why = plain_answer(reply.text), _lost(reply)
        return "" if why else text, why or reply.cause or "its message is empty", reply.usage


def ask_once(config: ModelConfig, persona: Persona, secret: Secret, timeout_s: float) -> str:
    """Let a persona say its first message, and say so. Raises UserError if there is none."""
    try:
        with LlmClient.for_one_question(config, secret, timeout_s) as client:
            reply = client.complete(as_played(persona, []))
    except LlmRejected as e:
        raise UserError(f"{config.model} was asked for one message and refuses it: {e}") from None
    if reply.refused or not plain_answer(reply.text):
        raise UserError(f"{config.model} was asked for one message and says nothing")
    return f"the simulator {config.model} speaks for the personas"


def _lost(reply: Reply) -> str:
    """Return why a reply is no message of the persona, whatever its text is."""
    if reply.prompt_cut:
        return CUT
    if reply.refused:
        return "it refused"
    return "the server's filter blocked it" if reply.finish_reason == "content_filter" else ""


def _key(messages: Sequence[dict[str, str]], seed: int) -> str:
    return hashlib.sha256(json.dumps([messages, seed]).encode()).hexdigest()


def as_played(persona: Persona, said: Sequence[Said]) -> list[dict[str, str]]:
    """Return the conversation from the persona's side: what the assistant answered is what the player hears."""
    topics = [
        ": ".join(filter(None, (f"- {t.category}, {t.subtopic} ({t.complexity})", t.description)))
        for t in persona.topic_seeds
    ]
    card = _CARD.format(persona=persona, traits=", ".join(persona.traits), topics="\n".join(topics))
    turned = {"user": "assistant", "assistant": "user"}
    heard = [{"role": turned[m.role], "content": m.content} for m in said if m.role != "system"]
    return [{"role": "system", "content": card}, {"role": "user", "content": _BEGIN}, *heard]
