"""Ideas for documents, read out of what a model answered: it was asked for JSON, and may say more, or less.

What counts is an object with the four fields, wherever it stands: in a fence, behind a sentence, before the place where
the answer was cut. A key too many is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from tuneline.data.text.likeness import normal
from tuneline.errors import Unreadable
from tuneline.stage import Closed, Json

MAX_CHARS = 1_000_000
"""Longer answers are not looked at."""
MOST_OBJECTS = 200
"""Braces that are looked at: each costs a look at what follows."""

Words = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\w")]

_TEXT: dict[str, Json] = {"type": "string"}
_IDEA: dict[str, Json] = {
    "title": _TEXT, "stakeholders": {"type": "array", "items": _TEXT}, "dilemma": _TEXT, "request": _TEXT
}  # fmt: skip


def _closed(properties: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object", "properties": properties, "required": [*properties], "additionalProperties": False,
    }  # fmt: skip


SCHEMA: Mapping[str, Json] = _closed({"ideas": {"type": "array", "items": _closed(_IDEA)}})
"""JSON schema of ideas; models that take none get it from the prompt."""


def _named(value: object) -> object:
    """Read names that stand in one text."""
    return [name.strip() for name in re.split(r"[,;\n]", value) if name.strip()] if isinstance(value, str) else value


class Idea(Closed):
    """What a document is about."""

    model_config = ConfigDict(extra="ignore")

    title: Words
    stakeholders: Annotated[list[Words], BeforeValidator(_named)] = Field(min_length=1, max_length=20)
    dilemma: Words
    request: Words


def read_ideas(text: str) -> list[Idea]:
    """Read the ideas in a model's answer; of those with the same title the first. Raises Unreadable for none."""
    found = different(_ideas(text)) if len(text) <= MAX_CHARS else []
    if not found:
        raise Unreadable("no idea is there in the form that was asked for")
    return found


def different(ideas: Iterable[Idea]) -> list[Idea]:
    """Return the ideas in their order, of those with the same title the first."""
    by_title: dict[str, Idea] = {}
    for idea in ideas:
        by_title.setdefault(normal(idea.title), idea)
    return [*by_title.values()]


def _ideas(text: str) -> Iterator[Idea]:
    decoder, end = json.JSONDecoder(), 0
    for _ in range(MOST_OBJECTS):
        if (at := text.find("{", end)) < 0:
            return
        end = at + 1  # of an object that is no idea, those inside may be
        try:
            value, after = decoder.raw_decode(text, at)
            yield Idea.model_validate(value)
            end = after
        except (ValueError, RecursionError):  # no JSON, or another object
            continue
