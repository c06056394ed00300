"""Lists of what was said: messages, pairs of what was asked and answered, or texts by turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.data.reading.messages.content import Problem, kind
from tuneline.data.reading.messages.marks import is_learnt
from tuneline.data.reading.messages.roles import Role, role_of
from tuneline.data.reading.messages.trees import way_to_last
from tuneline.data.reading.messages.turns import Turn, is_message, read_turns, turns_of
from tuneline.data.reading.messages.written import read_marked
from tuneline.parsing.problems import Loc

TEXTS = ("dialog", "dialogue", "dialogs", "utterances", "turns", "conversation", "conversations", "history", "data")
"""Lists whose items may be mere texts, said by user and assistant by turns."""
ASKS = (
    "prompt", "instruction", "question", "query", "user", "human", "input", "request", "user_message", "user_input",
    "user_prompt", "customer_message", "human_message", "inputs",
)  # fmt: skip
ANSWERS = (
    "response", "completion", "output", "answer", "assistant", "bot", "reply", "assistant_message",
    "assistant_response", "bot_message", "bot_response", "agent_message", "agent_reply", "agent_response", "ai_message",
    "model_response", "outputs",
)  # fmt: skip
SPEAKERS = ("speakers", "speaker_ids", "roles", "speaker", "authors")
"""Keys of a list that says who spoke each text of the list beside it."""
MORE_ASKS, MORE_ANSWERS = (*ASKS, "customer", "client", "q"), (*ANSWERS, "agent", "ai", "gpt", "model", "a")
"""Keys of what was asked and answered in a list of exchanges, where no other meaning is possible."""


def read_items(items: Sequence[object], loc: Loc, problems: list[Problem], last: object = None) -> list[Turn]:
    """Read the items of a list: messages, or pairs of what was asked and answered.

    Where messages were edited or answers made again, those on the way to the message `last` are read.
    """
    if (said := _said_by_name(items) or _marked(items)) is not None:
        return read_turns(said, loc, problems)
    first = items[0] if items else None
    pairs = isinstance(first, Mapping) and not is_message(first) and _are_exchanges(first)
    if items and (pairs or loc[-1] == "exchanges"):
        return [turn for place, item in enumerate(items) for turn in _exchange(item, (*loc, place), problems)]
    if isinstance(first, Sequence) and not isinstance(first, str) and len(first) == 2:
        return [turn for place, item in enumerate(items) for turn in read_pair(item, (*loc, place), problems)]
    return read_turns(items, loc, problems, texts=loc[-1] in TEXTS, places=way_to_last(items, last))


def with_speakers(items: Sequence[object], record: Mapping[str, object]) -> Sequence[object]:
    """Return texts as messages, where a list beside them says who spoke each; of two names the first one asks."""
    names = next((record[key] for key in SPEAKERS if isinstance(record.get(key), list)), None)
    if not isinstance(names, list) or len(names) != len(items) or not all(isinstance(item, str) for item in items):
        return items
    sides = list(dict.fromkeys(map(str, names)))
    roles = dict(zip(sides, ("user", "assistant"), strict=True)) if len(sides) == 2 else {}
    roles = {side: role_of(side) or roles.get(side, "") for side in sides}
    if len(sides) == 2 and len({*roles.values()}) == 1:
        roles = dict(zip(sides, ("user", "assistant"), strict=True))
    return [{"role": roles[str(name)] or name, "content": item} for name, item in zip(names, items, strict=True)]


def _said_by_name(items: Sequence[object]) -> list[object] | None:
    """Return messages, of pairs of a role and a text (`["user", "…"]`, `{"user": "…"}`): most begin with a role."""
    if not items or (isinstance(items[0], Mapping) and len(items[0]) != 1):
        return None
    halves = [next(iter(item.items())) if isinstance(item, Mapping) and len(item) == 1 else item for item in items]
    pairs = [item for item in halves if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)]
    roles = [role for role in (role_of(pair[0]) for pair in pairs) if role]
    if len(pairs) < len(items) or 2 * len(roles) < len(items):
        return None
    if isinstance(items[0], Mapping) and not {"user", "assistant"} <= {*roles}:
        return None
    return [{"role": role, "content": text} for role, text in pairs]


def _marked(items: Sequence[object]) -> list[object] | None:
    """Return messages, of texts that each begin with a mark (`Patient: …`)."""
    said = [read_marked(item) if isinstance(item, str) else None for item in items if isinstance(items[0], str)]
    if not said or None in said:
        return None
    return [{"role": one.role, "content": one.text} for one in said if one]


def _are_exchanges(item: Mapping[str, object]) -> bool:
    return any(key in item for key in MORE_ASKS) and any(key in item for key in MORE_ANSWERS)


def _exchange(item: object, loc: Loc, problems: list[Problem]) -> list[Turn]:
    if not isinstance(item, Mapping):
        problems.append(Problem(loc, f"must be an object (got {kind(item)})", "shape"))
        return []
    turns: list[Turn] = []
    sides: tuple[tuple[Role, Sequence[str]], ...] = (("user", MORE_ASKS), ("assistant", MORE_ANSWERS))
    for role, keys in sides:
        key = next((key for key in keys if key in item), role)
        if key not in item:
            problems.append(Problem((*loc, key), "is missing", "content"))
        else:
            learnt = role == "user" or is_learnt(item, "assistant", loc, problems)
            turns += turns_of(role, item[key], (*loc, key), problems, learnt=learnt)
    return turns


def read_pair(item: object, loc: Loc, problems: list[Problem]) -> list[Turn]:
    """Read what was asked and what was answered; either may be missing."""
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        problems.append(Problem(loc, "must be a pair of texts", "shape"))
        return []
    asked = turns_of("user", item[0], (*loc, 0), problems) if item[0] else []
    return asked + (turns_of("assistant", item[1], (*loc, 1), problems) if item[1] else [])
