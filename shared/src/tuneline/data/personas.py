"""Personas: the simulated users who talk to both arms.

A file holds a list of them, or a mapping by id, under `personas` or alone. Usual names of other tools are understood
(`personality_traits`, `age`, `communicationStyle`), an age may be a number or a range, traits one text with commas. A
key that is nearly one of ours is a mistake; any other is passed over, and the log names it.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import structlog
from pydantic import BeforeValidator, Field, StringConstraints

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.parsing.problems import Loc, printable
from tuneline.parsing.yaml import YamlFile, read_yaml

log = structlog.get_logger()

NAMES: Mapping[str, str] = {
    "personality_traits": "traits", "personality": "traits", "characteristics": "traits",
    "age": "age_range", "age_group": "age_range", "persona_id": "id", "persona_name": "name",
    "style": "communication_style", "speech_pattern": "communication_style", "speaking_style": "communication_style",
    "topics": "topic_seeds", "seeds": "topic_seeds", "arc": "trajectory", "conversation_arc": "trajectory",
}  # fmt: skip
"""What other tools call the fields, in small letters with `_`."""

NEAR = 0.75
"""How alike a key must be to one of ours to be a mistake."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


def _age(value: object) -> object:
    """Read 36, [36, 45] and {min: 36, max: 45} as text."""
    ends = list(value.values()) if isinstance(value, dict) and value.keys() == {"min", "max"} else value
    if isinstance(ends, list) and len(ends) == 2 and all(type(end) is int for end in ends):
        return f"{min(ends)}-{max(ends)}"
    return str(value) if type(value) is int else value


def _traits(value: object) -> object:
    return [part for part in re.split(r"[,;\n]", value) if part.strip()] if isinstance(value, str) else value


def _number(value: object) -> object:
    return str(value) if type(value) is int else value


class TopicSeed(Closed):
    """Something that a persona wants to talk about."""

    category: Text
    subtopic: Text
    complexity: Text
    description: Text | None = None


class Persona(Closed):
    """One simulated user."""

    id: Annotated[Name, BeforeValidator(_number)]
    """Names the persona in every output."""
    name: Text
    age_range: Annotated[Text, BeforeValidator(_age)]
    traits: Annotated[tuple[Text, ...], BeforeValidator(_traits)] = Field(min_length=1)
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
    source = _listed(read_yaml(path))
    personas = source.as_model(Personas, "a persona file").personas
    if repeated := [i for i, persona in enumerate(personas) if persona.id in {p.id for p in personas[:i]}]:
        places = [(source.where(("personas", i, "id")), personas[i].id) for i in repeated]
        raise UserError("\n".join(f"{place}: another persona has the id `{name}`" for place, name in places))
    return personas


def _listed(source: YamlFile) -> YamlFile:
    """Return the file as a list under `personas`, with our names; what is passed over is logged."""
    content = source.content
    held = content.get("personas") if isinstance(content, dict) and "personas" in content else content
    above: Loc = ("personas",) if held is not content else ()
    if isinstance(held, dict) and held and all(isinstance(value, dict) for value in held.values()):
        rows: dict[int | str, Any] = {key: {"id": key, **value} for key, value in held.items()}
    elif isinstance(held, list):
        rows = dict(enumerate(held))
    else:
        return source
    found: list[object] = []
    moved: dict[Loc, Loc] = {}
    over: set[str] = {str(key) for key in content if key != "personas"} if above else set()
    for key, row in rows.items():
        place: Loc = ("personas", len(found))
        moved[*above, key] = place
        found.append(_renamed(row, (*above, key), place, moved, over) if isinstance(row, dict) else row)
    if over:
        log.warning("personas: these keys are passed over", keys=printable(", ".join(sorted(over))[:1000]))
    return source.rearranged({"personas": found}, moved)


def _renamed(row: dict[str, Any], old: Loc, new: Loc, moved: dict[Loc, Loc], over: set[str]) -> dict[str, Any]:
    """Return a persona under our names, without keys that are nothing like them."""
    ours = Persona.model_fields
    known = {name: name for name in ours} | {key: name for key, name in NAMES.items() if name not in row}
    found: dict[str, Any] = {}
    for key, value in row.items():
        plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]", "_", key[:100]).lower()
        name = known.get(plain, key)
        if name in ours and name not in found:
            found[name] = value
            moved[*old, key] = (*new, name)
        elif difflib.get_close_matches(plain, ours, n=1, cutoff=NEAR) or name in ours:
            found[key] = value
        else:
            over.add(key)
    return found
