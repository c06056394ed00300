"""Lists of what was said: messages, pairs of what was asked and answered, or texts by turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.data.reading.messages.content import Problem, kind
from tuneline.data.reading.messages.roles import Role
from tuneline.data.reading.messages.trees import way_to_last
from tuneline.data.reading.messages.turns import Turn, is_learnt, is_message, read_turns, turns_of
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
MORE_ASKS, MORE_ANSWERS = (*ASKS, "customer", "client", "q"), (*ANSWERS, "agent", "ai", "gpt", "model", "a")
"""Keys of what was asked and answered in a list of exchanges, where no other meaning is possible."""


def read_items(items: Sequence[object], loc: Loc, problems: list[Problem], last: object = None) -> list[Turn]:
    """Read the items of a list: messages, or pairs of what was asked and answered.

    Where messages were edited or answers made again, those on the way to the message `last` are read.
    """
    first = items[0] if items else None
    pairs = isinstance(first, Mapping) and not is_message(first) and _are_exchanges(first)
    if items and (pairs or loc[-1] == "exchanges"):
        return [turn for place, item in enumerate(items) for turn in _exchange(item, (*loc, place), problems)]
    if isinstance(first, Sequence) and not isinstance(first, str) and len(first) == 2:
        return [turn for place, item in enumerate(items) for turn in read_pair(item, (*loc, place), problems)]
    return read_turns(items, loc, problems, texts=loc[-1] in TEXTS, places=way_to_last(items, last))


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
