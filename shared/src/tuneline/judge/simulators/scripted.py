"""Personas that say what their script says, whatever they are answered."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from tuneline.data.conversations import Said
from tuneline.data.personas import Persona
from tuneline.stage import Cost


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
