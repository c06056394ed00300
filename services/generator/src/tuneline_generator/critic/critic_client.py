"""Asks the critic: each opinion is paid once, and the same question has the same answer.

A llama-server that uses what it has evaluated before, or evaluates two prompts together, moves a margin by up to 0.2.
So a critic's server has one slot, is asked one question at a time, and forgets each prompt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Literal

from tuneline.data.io import read_row
from tuneline.errors import UserError
from tuneline.llm.completion import CompletionConfig, Sampler
from tuneline.llm.config import read_provider
from tuneline.stage import Closed, Context, Usage
from tuneline_generator.critic.critic import CriticTest, LogprobCritic, Opinion, Pair, judge_critic, moved, read_opinion
from tuneline_generator.writing.rows import sha256
from tuneline_generator.writing.tally import Tally
from tuneline_generator.writing.writer import LocalConfig, Writer, WriterConfig, open_writer

VERSION = "1"
"""Part of the journal's scope: raise it when the same question would be read otherwise."""

ONE_TOKEN = Sampler(temperature=0, max_tokens=1)
CERTAIN = ("Name the colour of fresh snow.", "Fresh snow is white.")
"""A row that is asked about twice, to see whether a server's margins vary."""


class JudgeCritic(Closed):
    """The inputs `rubric` and `judge` decide: a row is good when it passes."""

    provider: Literal["judge"]


CriticConfig = LogprobCritic | JudgeCritic
CONFIGS: Mapping[str, type[CriticConfig]] = {"logprob": LogprobCritic, "judge": JudgeCritic}


class Heard(Closed):
    """What a critic said: a row of the journal, without any threshold."""

    margin: float | None
    mass: float
    missing: Literal["", "yes", "no", "both"]
    usage: Usage = Usage()
    seconds: float = 0.0
    """What the answer took."""

    @property
    def opinion(self) -> Opinion:
        return Opinion(self.margin, self.mass, self.missing)


def load_critic(path: Path) -> CriticConfig:
    """Read who looks at the rows. Raises UserError with file, line and field."""
    return read_provider(path, CONFIGS)


def server_of(critic: LogprobCritic, writer: WriterConfig, model: Path | None) -> WriterConfig:
    """Return where a critic's model is; a file is served with one slot. Raises UserError where it lists nothing.

    `model` is the file, if one is given for the critic or the writer.
    """
    chosen = critic.server or (writer if isinstance(writer, LocalConfig | CompletionConfig) else None)
    if chosen is None and model is not None:
        chosen = LocalConfig(provider="llama-server")
    if chosen is None:
        raise UserError("critic: a model that is talked with lists no probabilities; give `critic_model` or `server`")
    if isinstance(chosen, LocalConfig) and model is None:
        raise UserError("critic: `llama-server` serves the input `critic_model`; give it")
    return chosen.model_copy(update={"slots": 1}) if isinstance(chosen, LocalConfig) else chosen


class Critic:
    """Says what it thinks of rows. Safe for threads."""

    def __init__(self, config: LogprobCritic, writer: Writer, context: Context) -> None:
        self._config, self._writer, self.label = config, writer, writer.label
        asks = [config.prompt, [*config.yes], [*config.no], config.top]
        self._journal = context.journal("critic", VERSION, writer.identity, json.dumps(asks))
        self._one, self.tally = Lock(), Tally(writer.account)
        self.varies = False
        """Whether the same question had another answer a moment later."""

    def preflight(self) -> None:
        """Raise UserError where no probabilities are listed; see whether the margins vary."""
        self._writer.preflight([ONE_TOKEN], top_logprobs=self._config.top)
        first, again = (self._hear(self._config.asked(*CERTAIN)) for _ in range(2))
        self.varies = first.margin != again.margin

    def ask(self, instruction: str, response: str) -> Opinion:
        """Return what it says about a row. Raises LlmRejected, UserError or Temporary."""
        return self.heard(instruction, response).opinion

    def heard(self, instruction: str, response: str) -> Heard:
        """Return the same, with what it took whenever it was asked."""
        prompt = self._config.asked(instruction, response)
        key = sha256(prompt)
        heard = read_row(self._journal, key, Heard)
        if heard is None:
            heard = self._hear(prompt)
            self._journal.put(key, heard.model_dump(mode="json"))
            self.tally.take(heard.usage)
        else:
            self.tally.find(heard.usage, heard.seconds)
        return heard

    def accepts(self, opinion: Opinion, min_margin: float) -> bool | None:
        """Tell whether a row is good; None is unsure."""
        return opinion.accepts(min_margin, self._config.min_mass)

    def test(self, pairs: Sequence[Pair], min_margin: float | Literal["auto"]) -> CriticTest | None:
        """Return how well it tells rows from moved ones; None where there are too few. Raises as `ask`."""
        both = [(self.ask(*own), self.ask(*other)) for own, other in moved(pairs)]
        if not both:
            return None
        test = judge_critic([own for own, _ in both], [other for _, other in both], min_margin)
        return test.model_copy(update={"varies": self.varies})

    def _hear(self, prompt: str) -> Heard:
        with self._one:
            began = time.monotonic()
            said = self._writer.complete(prompt, ONE_TOKEN, seed=0, top_logprobs=self._config.top)
            seconds = round(time.monotonic() - began, 3)
        self.tally.pay(said.usage)
        opinion = read_opinion(said, self._config)
        return Heard(**opinion._asdict(), usage=said.usage, seconds=seconds)


@contextmanager
def open_critic(
    config: LogprobCritic, writer: WriterConfig, model: Path | None, context: Context, *, timeout_s: float
) -> Iterator[Critic]:
    """Give the critic for as long as the block lasts; `model` is its file, or the writer's.

    Raises UserError when it cannot be asked.
    """
    server = server_of(config, writer, model)
    file = model if isinstance(server, LocalConfig) else None
    with open_writer(server, file, context, concurrency=1, timeout_s=timeout_s, role="critic") as opened:
        critic = Critic(config, opened, context)
        critic.preflight()
        yield critic
