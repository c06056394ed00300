"""The shapes a transcript may come in, and the one model that they become.

    {"id", "exchanges": [{"user", "assistant"}]}
    {"id", "messages": [{"role": "system" | "user" | "assistant", "content"}]}               TRL, OpenAI
    {"id", "conversations": [{"from": "system" | "human" | "gpt", "value"}]}                 ShareGPT

All may have `transcript_id` for `id`, `system` (a string) and `persona` (a string, or an object with `id` or `name`);
other keys are left alone. Turns alternate, user first, and every user message has its answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple

from tuneline.parsing.problems import Loc

MAX_ID_CHARACTERS = 200
MAX_PROBLEMS = 100
"""Problems of a record after which nothing more is looked for: whoever mends these will see the rest."""

ROLES: Mapping[object, Literal["system", "user", "assistant"]] = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
}  # fmt: skip
OTHER_ROLES = ("tool", "function", "developer", "ipython", "bot", "model")
"""Roles of other formats: these may be named in a message, anything else in their place could be a person's words."""


SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character outside the first plane: JSON can spell it alone, UTF-8 cannot write it."""


class Exchange(NamedTuple):
    """One user message and the assistant's answer."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Transcript:
    """One recorded conversation."""

    id: str
    exchanges: tuple[Exchange, ...]
    system: str | None = None
    persona: str | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of what was said (system prompt and exchanges, not id or persona), 64 hex digits."""
        said = json.dumps([self.system, self.exchanges], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


class Problem(NamedTuple):
    """What is wrong with the value at `loc`; never quotes a message."""

    loc: Loc
    text: str


class Normalised(NamedTuple):
    """A record as far as it could be understood: `transcript` is None if there is any problem."""

    id: str | None
    transcript: Transcript | None
    problems: list[Problem]


class _Turn(NamedTuple):
    role: Literal["system", "user", "assistant"]
    content: str
    loc: Loc


SHAPES = {"exchanges": None, "messages": ("role", "content"), "conversations": ("from", "value")}


def normalise(record: object) -> Normalised:
    """Turn a parsed record of any shape into a transcript, or say everything that is wrong with it."""
    if not isinstance(record, dict):
        text = f"must be an object (got {kind(record)}): one transcript per .json file or per line of a .jsonl file"
        return Normalised(None, None, [Problem((), text)])
    problems: list[Problem] = []
    name = _id(record, problems)
    shape = _find_shape(record, problems)
    turns = _read_turns(record, shape, problems) if shape else []
    system = _text(record, "system", (), problems) if record.get("system") is not None else None
    if turns and turns[0].role == "system":
        if system:
            problems.append(Problem(("system",), "there is a system message too; keep one of them"))
        system, turns = turns[0].content, turns[1:]
    persona = _persona(record.get("persona"), problems)
    if shape and not problems:
        problems += islice(_order_problems(turns, shape), MAX_PROBLEMS)
    if problems or name is None:
        return Normalised(name, None, problems)
    pairs = zip(turns[::2], turns[1::2], strict=True)
    exchanges = tuple(Exchange(user.content, assistant.content) for user, assistant in pairs)
    return Normalised(name, Transcript(name, exchanges, system, persona), [])


def kind(value: object) -> str:
    """Name the kind of a JSON value, with its article, for a message that must not show the value."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def _id(record: Mapping[str, object], problems: list[Problem]) -> str | None:
    key = "id" if "id" in record or "transcript_id" not in record else "transcript_id"
    value = record.get(key)
    if key not in record:
        problem = "is missing"
    elif not isinstance(value, str):
        problem = f"must be a string (got {kind(value)})"
    elif record.get("transcript_id", value) != value:
        key, problem = "transcript_id", "differs from id; keep one of them"
    elif not value.strip():
        problem = "is empty"
    elif len(value) > MAX_ID_CHARACTERS:
        problem = f"is too long (got {len(value)} characters, at most {MAX_ID_CHARACTERS})"
    elif not value.isprintable() or value != value.strip():
        problem = "has invisible characters, or spaces around it"
    elif "/" in value or "\\" in value or ".." in value:
        problem = "must not contain /, \\ or .., because it is used to name things"
    else:
        return value
    problems.append(Problem((key,), problem))
    return None


def _find_shape(record: Mapping[str, object], problems: list[Problem]) -> str | None:
    found = [shape for shape in SHAPES if shape in record]
    if len(found) == 1:
        return found[0]
    got = " and ".join(found) or "none of them"
    problems.append(Problem((), f"must have one of exchanges, messages or conversations (got {got})"))
    return None


def _read_turns(record: Mapping[str, object], shape: str, problems: list[Problem]) -> list[_Turn]:
    items = record[shape]
    if not isinstance(items, list):
        problems.append(Problem((shape,), f"must be a list (got {kind(items)})"))
        return []
    if not items:
        problems.append(Problem((shape,), "is empty"))
    turns: list[_Turn] = []
    for index, item in enumerate(items):
        if len(problems) >= MAX_PROBLEMS:
            break
        if not isinstance(item, dict):
            problems.append(Problem((shape, index), f"must be an object (got {kind(item)})"))
        else:
            turns += _read_item(item, shape, (shape, index), problems)
    return turns


def _read_item(item: Mapping[str, object], shape: str, loc: Loc, problems: list[Problem]) -> Iterator[_Turn]:
    keys = SHAPES[shape]
    if keys is None:
        for key in ("user", "assistant"):
            yield _Turn(ROLES[key], _text(item, key, loc, problems), (*loc, key))
        return
    by, said = keys
    role = ROLES.get(item.get(by)) if isinstance(item.get(by), str) else None
    content = _text(item, said, loc, problems)
    if role:
        yield _Turn(role, content, loc)
    elif by not in item:
        problems.append(Problem((*loc, by), "is missing"))
    else:
        got = item[by] if item[by] in OTHER_ROLES else "another word" if isinstance(item[by], str) else kind(item[by])
        problems.append(Problem((*loc, by), f"must be one of {', '.join(map(str, ROLES))} (got {got})"))


def _text(item: Mapping[str, object], key: str, loc: Loc, problems: list[Problem]) -> str:
    value = item.get(key)
    if key not in item:
        problem = "is missing"
    elif not isinstance(value, str):
        problem = f"must be a string (got {kind(value)})"
    elif not value.strip():
        problem = "is empty"
    elif "\0" in value:
        problem = "contains a NUL character"
    elif SURROGATE.search(value):
        problem = "contains half of a surrogate pair, which is not a character"
    else:
        return value
    problems.append(Problem((*loc, key), problem))
    return ""


def _persona(value: object, problems: list[Problem]) -> str | None:
    if isinstance(value, dict):
        value = value.get("id", value.get("name", value))
    if value is None or isinstance(value, str):
        return value and _text({"persona": value}, "persona", (), problems)
    problems.append(Problem(("persona",), f"must be a string, or an object with id or name (got {kind(value)})"))
    return None


def _order_problems(turns: list[_Turn], shape: str) -> Iterator[Problem]:
    """Say where user and assistant do not alternate; roles and contents are known to be right."""
    for index, turn in enumerate(turns):
        before = turns[index - 1].role if index else "assistant"
        if turn.role == "system":
            yield Problem(turn.loc, "a system message must come first")
        elif index == 0 and turn.role == "assistant":
            yield Problem(turn.loc, "the assistant speaks first; a conversation begins with the user")
        elif turn.role == before:
            yield Problem(turn.loc, f"two {turn.role} messages in a row")
    if not turns:
        yield Problem((shape,), "has no exchange")
    elif turns[-1].role == "user":
        yield Problem(turns[-1].loc, "the last message has no answer")
