"""What a model may answer to a task, in every form that can mean one thing only.

Models that follow no JSON schema write a list as a mapping, a number as text, an id with the name behind it. What is
off the list, out of range or of another scale is not guessed.
"""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tuneline.data.io import Closed
from tuneline.errors import Unreadable
from tuneline.judge.answer import as_answer, as_reason, candidates
from tuneline_calibrator.talks.segments import KINDS

A = TypeVar("A", bound=BaseModel)

MOST_NAME, MOST_TEXT, MOST_REASON = 300, 1000, 5000
"""Characters of a concept's name, of what is said about it or of a change, and of a reason; more are cut off."""

_FIGURE = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*(?:/\s*100|%)?\s*")
_LABEL = re.compile(r"(?:[\W\d_]*passage)?[\W\d_]*([a-z]+)\W*(?:\(.*)?", re.DOTALL)
"""`hook`, `3. Hook`, `Passage 3: hook (it asks)`, in lower case."""
_NUMBER = re.compile(r"\D{0,20}(\d{1,6})\D{0,5}")


class Named(Closed):
    """One thing that a listener should understand, as a judge names it."""

    name: str = Field(min_length=1)
    explained_if: str = ""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, row: object) -> object:
        if isinstance(row, str):
            return {"name": row[:MOST_NAME]}
        if not isinstance(row, dict):
            return row
        name, when = row.get("name"), row.get("explained_if")
        return {
            "name": name[:MOST_NAME] if isinstance(name, str) else name,
            "explained_if": when[:MOST_TEXT] if isinstance(when, str) else "",
        }


class Quality(Closed):
    """How good a script is, 0 to 100 each."""

    engagement: float = Field(ge=0, le=100)
    clarity: float = Field(ge=0, le=100)
    accuracy: float = Field(ge=0, le=100)
    reason: str = ""

    @field_validator("engagement", "clarity", "accuracy", mode="before")
    @classmethod
    def _figure(cls, value: object) -> object:
        """Take "80" and "80/100" for 80; true is no figure."""
        found = _FIGURE.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, bool):
            raise PydanticCustomError("figure", "must be a number")
        return float(found[1]) if found else value

    @field_validator("reason", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        return (as_reason(value) or "")[:MOST_REASON]

    @model_validator(mode="after")
    def _of_a_hundred(self) -> Quality:
        """Refuse shares of 1: a talk of 0.8 points in 100 is none that anybody would have judged."""
        figures = (self.engagement, self.clarity, self.accuracy)
        if max(figures) <= 1 and any(not one.is_integer() for one in figures):
            raise PydanticCustomError("scale", "must be points from 0 to 100, not shares of 1")
        return self


class Kinds(Closed):
    """A word for each passage, in their order; a word that is on no list stays as it is."""

    kinds: list[str]

    @field_validator("kinds", mode="before")
    @classmethod
    def _in_order(cls, value: object) -> object:
        """Take a mapping whose keys are 1, 2, 3 … for the list of its values, and `Passage 3: Hook` for `hook`."""
        if isinstance(value, dict):
            numbers = [_NUMBER.fullmatch(str(key)) for key in value]
            if [int(one[1]) for one in numbers if one] != [*range(1, len(value) + 1)]:
                raise PydanticCustomError("kinds", "must be one list with a word for each passage")
            value = [*value.values()]
        return [_word_of(one) for one in value] if isinstance(value, list) else value


class Concepts(Closed):
    """What a listener should understand."""

    concepts: list[Named]

    @field_validator("concepts", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if isinstance(value, dict):
            return [{"name": name, "explained_if": when} for name, when in value.items()]
        return value


class Explained(Closed):
    """Ids or names of concepts."""

    explained: list[str]

    @field_validator("explained", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        """Take `c1, c3`, numbers, `{"c1": true, "c2": false}` and objects with an id for the ids that they mean."""
        if isinstance(value, str):
            value = re.split(r"[,;\n]", value)
        if isinstance(value, dict):
            said = {str(name): as_answer(answer) for name, answer in value.items()}
            if not {*said.values()} <= {"YES", "NO"}:
                raise PydanticCustomError("explained", "must be a list of ids")
            value = [name for name, answer in said.items() if answer == "YES"]
        return [*filter(None, map(_id_of, value))] if isinstance(value, list) else value


def read_answer(text: str, kind: type[A], said: str = "") -> A:
    """Read the one object that an answer holds, none that stands in `said`. Raises Unreadable, and quotes nothing."""
    found = candidates(text, set(kind.model_fields), said)[-1]
    ours = {name: value for name, value in found.items() if name in kind.model_fields}
    try:
        return kind.model_validate(ours)
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        raise Unreadable(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'][:200]}") from None


def plain(text: str) -> str:
    """Return a text without case and without what stands between its words."""
    return " ".join(text.casefold().split())


def _word_of(row: object) -> object:
    """Return the kind that a row means: a word, or that of an object with one."""
    if isinstance(row, dict):
        words = [row["kind"]] if "kind" in row else [one for one in row.values() if isinstance(one, str)]
        row = words[0] if len(words) == 1 else ""
    if not isinstance(row, str):
        return ""
    found = _LABEL.fullmatch(plain(row))
    return found[1] if found and found[1] in KINDS else plain(row)


def _id_of(row: object) -> object:
    """Return the id of a row, None for one that says NO."""
    if isinstance(row, dict):
        flags = [as_answer(value) for name, value in row.items() if name not in ("id", "name")]
        return None if "NO" in flags else row.get("id", row.get("name", ""))
    return str(row) if isinstance(row, int) and not isinstance(row, bool) else row
