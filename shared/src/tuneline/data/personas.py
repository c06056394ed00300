"""Personas: the simulated users who talk to both arms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.parsing.problems import problems_of
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


def load_personas(path: Path) -> list[Persona]:
    """Read a persona file (YAML or JSON). Raises UserError that names line and field of every problem."""
    source = read_yaml(path)
    rows = source.content.get("personas") if isinstance(source.content, dict) and len(source.content) == 1 else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{source.where(())}: expected the key `personas` and under it a list of at least one")
    personas: list[Persona] = []
    problems: list[str] = []
    for index, row in enumerate(rows):
        try:
            persona = Persona.model_validate(row)
        except ValidationError as error:
            problems += problems_of(error, Persona, source, ("personas", index))
            continue
        if persona.id in {other.id for other in personas}:
            problems.append(f"{source.where(('personas', index, 'id'))}: another persona has the id `{persona.id}`")
        personas.append(persona)
    if problems:
        raise UserError("\n".join(problems))
    return personas
