"""Who speaks for the personas: their own scripts, offline, or a language model that plays them.

`speak` gets the conversation so far and returns the persona's next message. Both arms get the same seed for the same
turn; a script says the same to both arms whatever they answer, a model reacts to what it hears.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from tuneline.data.conversations import Said
from tuneline.data.io import Closed
from tuneline.data.personas import Persona
from tuneline.llm.config import MODELS, ModelConfig, read_asked_at_once
from tuneline.stage import Context, Cost


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
    if path is None:
        return ScriptedConfig()
    return read_asked_at_once(path, CONFIGS, "a conversation waits for every message")


@contextmanager
def open_simulator(
    config: SimulatorConfig, context: Context, *, timeout_s: float, concurrency: int
) -> Iterator[Simulator]:
    """Give the simulator for as long as the block lasts. Raises UserError when its key is missing."""
    if isinstance(config, ScriptedConfig):
        from tuneline.judge.simulators.scripted import ScriptedSimulator

        yield ScriptedSimulator()
        return
    from tuneline.judge.simulators.played import PlayedSimulator
    from tuneline.llm.client import LlmClient

    account = context.account("simulator", config.model)
    with LlmClient(config, context.secret, timeout_s, concurrency=concurrency, account=account) as client:
        yield PlayedSimulator(client, context, account)
