"""Who speaks for the personas: their own scripts, offline, or a language model that plays them.

`speak` gets the conversation so far and returns the persona's next message. Both arms get the same seed for the same
turn; a script says the same to both arms whatever they answer, a model reacts to what it hears.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from tuneline.data.conversations import Said
from tuneline.data.io import Closed
from tuneline.data.personas import Persona
from tuneline.errors import UserError
from tuneline.llm.config import MODELS, ModelConfig, read_provider
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import Context, Cost


class NothingSaid(Exception):  # noqa: N818  (a state of the conversation, not a fault of this program)
    """The simulator had nothing to say, so the conversation cannot go on."""


class Simulator(Protocol):
    """Speaks for every persona. Safe for threads."""

    @property
    def label(self) -> str:
        """Name for people."""

    @property
    def scope(self) -> str:
        """Everything that shapes what it says, apart from the arguments of `speak`."""

    @property
    def reacts(self) -> bool:
        """Whether it hears the answers."""

    def cost(self, asked: Iterable[tuple[Persona, int, Sequence[Said]]]) -> Cost:
        """Return what the answers to these calls of `speak` cost, and what has been spent by now."""

    def speak(self, persona: Persona, seed: int, said: Sequence[Said]) -> str:
        """Return the persona's next message. Raises NothingSaid, or Temporary when it cannot be asked now."""


class ScriptedConfig(Closed):
    """Personas speak from their scripts."""

    provider: Literal["scripted"] = "scripted"


SimulatorConfig: TypeAlias = ScriptedConfig | ModelConfig
CONFIGS: Mapping[str, type[SimulatorConfig]] = {"scripted": ScriptedConfig, **MODELS}


def load_simulator(path: Path | None) -> SimulatorConfig:
    """Read who speaks for the personas; without a file their scripts do. Raises UserError that names file and field."""
    config = ScriptedConfig() if path is None else read_provider(path, CONFIGS)
    if path is not None and isinstance(config, ModelConfig) and config.mode == "batch":
        where = read_yaml(path).where(("mode",))
        raise UserError(f"{where}: a conversation waits for every message; only a judge can use `batch`")
    return config


@contextmanager
def open_simulator(
    config: SimulatorConfig, context: Context, *, timeout_s: float, concurrency: int
) -> Iterator[Simulator]:
    """Give the simulator for as long as the block lasts. Raises UserError when its key is missing."""
    if isinstance(config, ScriptedConfig):
        yield ScriptedSimulator()
        return
    from tuneline.llm.client import LlmClient
    from tuneline_evaluator.conversations.played import PlayedSimulator

    account = context.account("simulator", config.model)
    with LlmClient(config, context.secret, timeout_s, concurrency=concurrency, account=account) as client:
        yield PlayedSimulator(client, context)


class ScriptedSimulator:
    """Says the lines of `script` in order, then lines made from the persona's topics: offline and deterministic."""

    label = "scripted (offline, does not react to answers)"
    scope = "scripted 1"
    reacts = False

    def cost(self, asked: Iterable[tuple[Persona, int, Sequence[Said]]]) -> Cost:
        return Cost()

    def speak(self, persona: Persona, seed: int, said: Sequence[Said]) -> str:
        """Return the next line; `seed` chooses among the made ones."""
        turn = sum(message.role == "user" for message in said)
        return persona.script[turn] if turn < len(persona.script) else _made_line(persona, turn, random.Random(seed))


# What a persona says when its script has ended or is missing; {topic} comes from its topic seeds.
_OPENING = (
    "I would like to talk about {topic}.",
    "There is something about {topic} that I cannot solve on my own.",
    "Can you help me with {topic}?",
)
_HOLDING_BACK = (
    "I am not sure that this is going to help.",
    "Maybe. What makes you think so?",
    "I would rather not go into details yet.",
)
_GOING_ON = (
    "What would you do first about {topic}?",
    "I have tried that, and it only helped a little. What else is there?",
    "Can you tell me more about that?",
    "How would I notice that it is getting better?",
    "And what if that does not work with {topic}?",
)
_RELUCTANT = ("gradual", "hesit", "resist", "guard", "distrust", "doubt", "reluct", "withdrawn")


def _made_line(persona: Persona, turn: int, rng: random.Random) -> str:
    reluctant = any(word in persona.trajectory.lower() for word in _RELUCTANT)
    lines = _OPENING if turn == 0 else _HOLDING_BACK if reluctant and turn < 3 else _GOING_ON
    topic = persona.topic_seeds[turn % len(persona.topic_seeds)]
    return rng.choice(lines).format(topic=f"{topic.category} and {topic.subtopic}".replace("_", " "))
