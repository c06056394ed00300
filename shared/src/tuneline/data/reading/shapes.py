"""The shapes a transcript may come in: where its messages stand in a record, and in which order.

A conversation is a list of messages under any usual key, a tree of them (ChatGPT), an export of a support desk or of
traces, a request with its response (logs of an API), or one prompt with its answer. What people must decide (preference
pairs, plain text) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product
from typing import NamedTuple

from tuneline.data.reading.logs.calls import as_json, is_turn, read_request, read_response, with_answers
from tuneline.data.reading.logs.exports import is_export, read_export
from tuneline.data.reading.logs.spans import is_span
from tuneline.data.reading.logs.traces import is_trace, read_trace
from tuneline.data.reading.messages.content import MAX_DEPTH, Problem, check_text, kind, read_content, spelt
from tuneline.data.reading.messages.items import ANSWERS, ASKS, read_items, read_pair, with_speakers
from tuneline.data.reading.messages.roles import Role
from tuneline.data.reading.messages.trees import LEAVES, TREE, path_of, versions_in
from tuneline.data.reading.messages.turns import TEXT_KEYS, Turn, is_message, read_message, read_turns, turns_of
from tuneline.data.reading.messages.written import KEYS, written_in
from tuneline.parsing.problems import Loc

LISTS = (
    "exchanges", "messages", "conversations", "conversation", "chat_messages", "contents", "chat_history",
    "message_history", "dialog", "dialogue", "dialogs", "utterances", "turns", "chat", "transcript", "thread",
    "activities", "chunks",
)  # fmt: skip
"""Keys under which the list of messages stands."""
LATE_LISTS = ("history", "data", "input", "items", "events", "results", "_results", "entries", "output", "text")
"""Keys that may hold it too, where nothing else does."""
REQUESTS = ("request", "inputs", "input", "request_body", "requestBody", "inputBodyJson", "body", "kwargs", "params")
RESPONSES = ("response", "outputs", "output", "response_body", "responseBody", "outputBodyJson", "completion", "result")
SYSTEMS = (
    "system", "system_prompt", "systemPrompt", "system_instruction", "systemInstruction", "system_message",
    "instructions",
)  # fmt: skip
SIDES = ("user", "human", "assistant", "bot")
"""Keys that elsewhere hold the name of a person or program: they are texts only as a pair of such."""
ADDED = ("input", "context")
"""Columns of Alpaca and Dolly that belong to the instruction."""
MEDIA = {"image": "<image>", "images": "<image>", "video": "<video>", "videos": "<video>", "audios": "<audio>"}
"""Keys of pictures and sounds, and how the text of a message points to one."""
WRAPPERS = (
    "chat", "conversation", "thread", "session", "data", "record", "row", "json", "trace", "value", "content",
    "chunked_prompt",
)  # fmt: skip

PREFERENCES = (
    ("chosen", "rejected"), ("preferred_output", "non_preferred_output"), ("conversation_a", "conversation_b"),
    ("response_a", "response_b"), ("response_0", "response_1"), ("response_1", "response_2"),
    ("response_j", "response_k"), ("answer_a", "answer_b"), ("completion_a", "completion_b"), ("models", "completions"),
)  # fmt: skip
"""Keys of two answers to one question: TRL, OpenAI, chats of an arena, and data sets of the Hub."""
KNOWN = frozenset((*LISTS, *LATE_LISTS, *REQUESTS, *RESPONSES, *WRAPPERS, *chain.from_iterable(PREFERENCES)))
"""Keys that say what stands under them, and are nobody's name for a conversation."""
CHOICES = "a preference pair, of which the record does not say what is to be learnt: keep one as `messages`"
NO_SHAPE = (
    "holds no conversation: messages, conversations, prompt and response, or one of the shapes in docs/transcripts.md"
)
NO_SPEAKER = (
    "holds no conversation: a text, and no key or column such as role, sender or author_type, nor a mark before each "
    "message, that says whose it is (user, customer; assistant, agent)"
)


class Shaped(NamedTuple):
    """The turns of a record, and the key that they stand under, for problems with all of them."""

    turns: list[Turn]
    loc: Loc
    is_call: bool = False
    """It is one call of a model, whose request may repeat what was said before."""


def read_shape(record: Mapping[str, object], problems: list[Problem], loc: Loc = ()) -> Shaped:
    """Find the conversation in a record and read its turns, system prompts first."""
    readers = (_tree, _exported, _traced, _listed, _preference, _logged, _paired, _written, _listed_late, _wrapped)
    for form, reader in product((record, spelt(record)), readers):
        if (found := reader(form, problems, loc)) is not None:
            known = reader is _wrapped and any(turn.role == "system" for turn in found.turns)
            system = [] if known else _system(form, problems, loc)
            _refuse_media(form, found.turns, problems, loc)
            return Shaped([*system, *found.turns], found.loc, found.is_call)
    named = spelt(record)
    by_name = any(isinstance(named.get(key), str) for key in (*TEXT_KEYS, *KEYS))
    problems.append(Problem(loc, NO_SPEAKER, "role") if by_name else Problem(loc, NO_SHAPE, "shape"))
    return Shaped([], loc)


def _refuse_media(record: Mapping[str, object], turns: Sequence[Turn], problems: list[Problem], loc: Loc) -> None:
    for key, mark in MEDIA.items():
        if record.get(key) and any(mark in turn.text for turn in turns):
            problems.append(Problem((*loc, key), "is no text (a picture, sound or file)", "image"))


def has_shape(record: object) -> bool:
    """Tell whether a value looks like the record of a conversation."""
    if not isinstance(record, Mapping):
        return False
    record = {**spelt(record), **record}
    return (
        TREE in record
        or versions_in(record) is not None
        or (isinstance(chat := record.get("chat"), Mapping) and versions_in(chat) is not None)
        or is_export(record)
        or is_trace(record)
        or any(key in record and _list(record[key]) is not None for key in LISTS)
        or _pair(record) is not None
        or (written_in(record) is not None and not is_message(record))
    )


def is_pair(record: Mapping[str, object]) -> bool:
    """Tell whether a record is one prompt with one answer, in texts, and nothing else."""
    record = {**spelt(record), **record}
    pair = _pair(record)
    alone = TREE not in record and not any(_list(record.get(key)) is not None for key in (*LISTS, "history"))
    texts = alone and pair is not None and all(isinstance(record[key], str) for key in pair)
    return texts and pair is not None and read_request(as_json(record[pair[0]]), (), []) is None


def _tree(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    nodes = record.get(TREE)
    if (versions := versions_in(record)) is not None:
        here = (*loc, "history", "messages")
        return Shaped(read_items(versions[0], here, problems, versions[1]), here)
    if not isinstance(nodes, Mapping):
        return None
    turns: list[Turn] = []
    for step, message in path_of(nodes, record.get("current_node"), problems, (*loc, TREE)):
        turns += read_turns([message], step, problems)
    return Shaped(turns, (*loc, TREE))


def _exported(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    found = read_export(record, problems, loc)
    if found is None:
        return None
    turns: list[Turn] = []
    for place, message in found:
        turns += read_message(message, place, problems)
    return Shaped(turns, loc, is_span(record))


def _traced(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    turns = read_trace(record, loc, problems)
    return None if turns is None else Shaped(turns, loc, is_call=True)


def _listed(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    return _first_list(record, LISTS, problems, loc)


def _listed_late(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    return _first_list(record, LATE_LISTS, problems, loc)


def _first_list(record: Mapping[str, object], keys: Sequence[str], problems: list[Problem], loc: Loc) -> Shaped | None:
    there = [key for key in keys if record.get(key) is not None]
    lists = [key for key in there if _list(record[key]) is not None]
    if len(main := [key for key in lists if key in LISTS[:3]]) > 1:
        problems.append(Problem(loc, f"must have one conversation (got {' and '.join(main)})", "shape"))
        return Shaped([], loc)
    if lists:
        here = (*loc, lists[0])
        items = with_speakers(_list(record[lists[0]]) or [], record)
        turns = read_items(items, here, problems, _last_seen(record))
        answer = _answer_beside(record, turns, problems, loc, packed=isinstance(record[lists[0]], str))
        return Shaped([*turns, *answer], here, is_call=bool(answer))
    wrong = [key for key in keys[:3] if key in record and not isinstance(record[key], Mapping)]
    if wrong and written_in(record) is None:
        problems.append(Problem((*loc, wrong[0]), f"must be a list (got {kind(record[wrong[0]])})", "shape"))
        return Shaped([], (*loc, wrong[0]))
    return None


def _last_seen(record: Mapping[str, object]) -> object:
    return next((record[key] for key in LEAVES if record.get(key) is not None), None)


def _answer_beside(
    record: Mapping[str, object], turns: Sequence[Turn], problems: list[Problem], loc: Loc, *, packed: bool
) -> list[Turn]:
    """Read the answer to the last message, where it stands beside the messages that were sent."""
    if not turns or turns[-1].role == "assistant":
        return []
    key = next((key for key in ("response", "completion", "output", "answer", "choices") if record.get(key)), None)
    return read_response(record[key], (*loc, key), problems, packed=packed) if key else []


def _preference(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    if pair := next((pair for pair in PREFERENCES if all(key in record for key in pair)), None):
        problems.append(Problem((*loc, pair[0]), CHOICES, "preference"))
    elif record.get("label") is False and _pair(record) is not None:
        problems.append(Problem((*loc, "label"), "marks the answer as one that nobody wants", "preference"))
    else:
        return None
    return Shaped([], loc)


def _logged(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    """Read the log of a call of an API: the request's messages, then the response's."""
    for key in REQUESTS:
        asked = as_json(record.get(key))
        if asked is None or isinstance(asked, str):
            continue
        found: list[Problem] = []
        turns = read_request(asked, (*loc, key), found)
        if turns is not None:
            problems += found
            there = [name for name in RESPONSES if record.get(name) is not None and name != key]
            packed = isinstance(record.get(key), str)
            answers = read_response(record[there[0]], (*loc, there[0]), problems, packed=packed) if there else []
            return Shaped(with_answers(turns, answers), (*loc, key), is_call=True)
    return None


def _paired(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    keys = _pair(record)
    if keys is None:
        return None
    ask, say = keys
    turns: list[Turn] = []
    for place, item in enumerate(_list(record.get("history")) or []):
        turns += read_pair(item, (*loc, "history", place), problems)
    added = [
        record[key]
        for key in ADDED
        if ask in ("instruction", "question") and key != say and isinstance(record.get(key), str)
    ]
    asked = record[ask]
    if isinstance(asked, str):
        asked = "\n\n".join(filter(str.strip, [asked, *map(str, added)]))
    sides: tuple[tuple[Role, str, object], ...] = (("user", ask, asked), ("assistant", say, record[say]))
    for role, key, value in sides:
        here = (*loc, key)
        listed = None if isinstance(value, str) else _list(value)
        if listed and is_turn(listed[0]):
            turns += read_turns(listed, here, problems)
        elif isinstance(value, Mapping) and role == "assistant":
            turns += read_response(value, here, problems)
        else:
            turns += turns_of(role, value, here, problems)
    return Shaped(turns, (*loc, ask))


def _written(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    found = written_in(record)
    if found is None:
        return None
    key, said = found
    here = (*loc, key)
    return Shaped([Turn(role, check_text(text, here, problems), here, split=True) for role, text in said], here)


def _wrapped(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> Shaped | None:
    for key in WRAPPERS if len(loc) < MAX_DEPTH else ():
        inner = as_json(record.get(key))
        if isinstance(inner, Mapping):
            found: list[Problem] = []
            read = read_shape(inner, found, (*loc, key))
            if read.turns or any(problem.text not in (NO_SHAPE, NO_SPEAKER) for problem in found):
                problems += found
                return read
    return None


def _system(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> list[Turn]:
    """Read the system prompt that stands beside the messages."""
    for key in SYSTEMS:
        value = record.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        here = (*loc, key)
        text = read_content(value, here, problems, joint="\n").text
        return [Turn("system", text, here)] if text.strip() else []
    return []


def _pair(record: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the keys of what was asked and answered."""
    ask = next((key for key in ASKS if record.get(key) is not None), None)
    say = next((key for key in ANSWERS if record.get(key) is not None and key != ask), None)
    return (ask, say) if ask and say and (ask in SIDES) == (say in SIDES) else None


def _list(value: object) -> Sequence[object] | None:
    """Return a list; a column of lists for each key of its items, as `datasets` keeps it, becomes one of items."""
    value = as_json(value)
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, Mapping) and len(value) > 1 and all(isinstance(column, list) for column in value.values()):
        items = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=False)]
        return items if len({len(column) for column in value.values()}) == 1 and all(map(is_message, items)) else None
    if isinstance(value, Mapping) and value and all(map(is_message, value.values())):
        return list(value.values())  # messages by their names, as Firebase keeps them
    return None
