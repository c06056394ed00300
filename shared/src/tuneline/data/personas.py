"""Personas: the simulated users who talk to both arms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.parsing.yaml import read_yaml

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class TopicSeed(Closed):
    """Something that a persona wants to talk about."""

    category: Text
    subtopic: Text
    complexity: Text
    description: Text | None = None


class Persona(Closed):
    """One simulated user."""

    id: Name
    """Names the persona in every output."""
    name: Text
    age_range: Text
    traits: tuple[Text, ...] = Field(min_length=1)
    communication_style: Text
    topic_seeds: tuple[TopicSeed, ...] = Field(min_length=1)
    trajectory: Text
    """How the persona changes while it talks: opens gradually, resists and then engages, is volatile …"""
    script: tuple[Text, ...] = ()
    """What the persona says in order, when nobody but the script speaks for it."""

    @property
    def sha256(self) -> str:
        """Hash of everything that shapes what the persona says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Personas(Closed):
    """A persona file."""

    personas: list[Persona] = Field(min_length=1)


def load_personas(path: Path) -> list[Persona]:
    """Read a persona file (YAML or JSON). Raises UserError that names line and field of every problem."""
    source = read_yaml(path)
    personas = source.as_model(Personas, "a persona file").personas
    if repeated := [i for i, persona in enumerate(personas) if persona.id in {p.id for p in personas[:i]}]:
        places = [(source.where(("personas", i, "id")), personas[i].id) for i in repeated]
        raise UserError("\n".join(f"{place}: another persona has the id `{name}`" for place, name in places))
    return personas
