"""Puts together what tables and logs have in rows: one message per row, or one question with its answer.

Rows belong together by the column that names the conversation, wherever in the file they stand; they are put in order
by a column that counts them or says when, where all of them have it. Without such a name a file of messages is one
conversation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import NamedTuple

from tuneline.data.reading.ids import conversation_keys
from tuneline.data.reading.messages.content import key_of, spelt
from tuneline.data.reading.messages.turns import ROLE_KEYS, TEXT_KEYS, is_event, is_message, read_message
from tuneline.data.reading.records import Record
from tuneline.data.reading.shapes import LISTS, has_shape, is_pair
from tuneline.parsing.problems import Loc, printable

ORDER_KEYS = (
    "turn_index", "message_index", "msg_index", "turn_number", "message_number", "turn_id", "turn", "index", "idx",
    "position", "seq", "sequence", "sequence_number", "message_order", "order", "step", "line_number",
)  # fmt: skip
TIME_KEYS = (
    "timestamp", "created_at", "createdat", "create_time", "created", "sent_at", "datetime", "date_time", "time",
    "date", "ts", "message_time", "start_time", "created_on", "created_time", "date_created", "sent", "sent_on",
    "sent_time", "sent_date", "message_date", "message_created_at", "comment_created_at", "posted_at", "received_at",
    "time_stamp", "timestamp_ms", "date_unixtime",
)  # fmt: skip
TREES = ("message_tree_id",)
"""Keys of rows in which a message may have several answers (OpenAssistant): none of them is the conversation."""
_REPLIES = frozenset((
    "in_response_to_tweet_id", "in_reply_to_status_id", "in_reply_to_tweet_id", "in_reply_to_id", "in_reply_to",
    "reply_to_id", "reply_to_message_id", "parent_comment_id",
))  # fmt: skip
"""Keys by which a row names the one that it answers, of conversations that have no name of their own."""
NO_NAME = "a message that says what it answers, and not in which conversation: add a column `conversation_id`"
_OF_MESSAGES = frozenset((*ORDER_KEYS, *TIME_KEYS, *TEXT_KEYS, *ROLE_KEYS))
DIVIDED = (
    "names no conversation, and the column `{}` cuts the messages into several: if it says which conversation each "
    "belongs to, call it conversation_id; if all are one, leave it out"
)
KEPT_KEYS = ("system", "system_prompt", "persona")
"""What a row may say about the whole conversation."""
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")

_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
_DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%b %d, %Y", "%d %b %Y")
_DATES = (
    *(f"{day}{between}{clock}" for day in _DAYS for clock in _CLOCKS for between in (" ", ", ")),
    "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S",
)  # fmt: skip
"""Times as spreadsheets, help desks, mails and social media write them."""


Place = float | str
"""Where a row stands among others."""


class _Row(NamedTuple):
    line: int
    value: Mapping[str, object]


def grouped(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records of a file, with its rows put together behind the others."""
    messages: list[_Row] = []
    pairs: dict[str, list[_Row]] = {}
    path = ""
    for record in records:
        value = record.value
        if not isinstance(value, Mapping) or record.problem:
            yield record
        elif is_event(spelt(value)) and not has_shape(value):
            continue
        elif is_message(value) and not has_shape(value):
            if problem := _problem_of(value):
                yield record._replace(problem=problem)
                continue
            path = record.path
            messages.append(_Row(record.lines_of([()])[0], spelt(value)))
        elif is_pair(value) and (name := _conversation_of(value)) is not None:
            path = record.path
            pairs.setdefault(name, []).append(_Row(record.lines_of([()])[0], spelt(value)))
        else:
            yield _oldest_first(record, value)
    for name, rows in _by_conversation(messages):
        problem = _not_one(rows, messages) if name is None else None
        record = _together(path, name, rows, "messages")
        yield record if problem is None else Record(path, record.line, problem=problem, kind="shape")
    for name, rows in pairs.items():
        yield _together(path, name, rows, "exchanges")


def _problem_of(value: Mapping[str, object]) -> str | None:
    """Say why a message in a row is of no conversation that can be told."""
    if any(value.get(key) is not None for key in TREES):
        return "a message of a tree with several answers; export one conversation per record"
    named = spelt(value)
    return None if _REPLIES.isdisjoint(named) or _conversation_of(named) is not None else NO_NAME


def _oldest_first(record: Record, value: Mapping[str, object]) -> Record:
    """Turn a list of messages round in which the newest stands first, as the interfaces of chat services return it."""
    for key in (*LISTS, "comments", "results"):
        items = value.get(key)
        if isinstance(items, list) and _is_newest_first(items):
            last = len(items) - 1

            def lines(locs: Sequence[Loc], key: str = key, last: int = last) -> list[int]:
                turned = [
                    (key, last - int(loc[1]), *loc[2:]) if loc[:1] == (key,) and len(loc) > 1 else loc for loc in locs
                ]
                return record.lines_of(turned)

            return record._replace(value={**value, key: items[::-1]}, lines=lines)
    return record


def _is_newest_first(items: Sequence[object]) -> bool:
    messages = [spelt(item) for item in items if isinstance(item, Mapping)]
    if len(messages) < max(2, len(items)) or not is_message(messages[0]):
        return False
    key = next((key for key in TIME_KEYS if messages[0].get(key) is not None), None)
    times = [_time(message.get(key)) for message in messages] if key else [None]
    known = [time for time in times if time is not None]
    return len(known) == len(items) and len({type(time) for time in known}) == 1 and _falls(known)


def _falls(known: Sequence[Place]) -> bool:
    falls = all(one >= other for one, other in pairwise(known))  # type: ignore[operator]
    return falls and known[0] > known[-1]  # type: ignore[operator]


def _by_conversation(rows: Sequence[_Row]) -> Iterator[tuple[str | None, list[_Row]]]:
    """Group rows of messages; an `id` names the conversation only where rows share it."""
    names = [_conversation_of(row.value) for row in rows]
    if not any(names):
        ids = [_named(_folded(row.value), ("id",)) for row in rows]
        names = ids if all(ids) and len(set(ids)) < len(ids) else names
    found: dict[str | None, list[_Row]] = {}
    for name, row in zip(names, rows, strict=True):
        found.setdefault(name, []).append(row)
    yield from found.items()


def _not_one(rows: Sequence[_Row], messages: Sequence[_Row]) -> str | None:
    """Say why rows that name no conversation are not taken for one."""
    if len(rows) < len(messages):
        return f"{len(rows)} messages name no conversation, where others of the file do: fill in `conversation_id`"
    column = _dividing(rows)
    return DIVIDED.format(printable(column)) if column else None


def _dividing(rows: Sequence[_Row]) -> str | None:
    """Return a column that cuts rows into blocks in which both sides speak, as the name of a conversation does."""
    sides = [{turn.role for turn in read_message(row.value, (), [])} for row in rows]
    for key in rows[0].value:
        values = [row.value.get(key) for row in rows]
        named = all(isinstance(value, str | int) and str(value).strip() for value in values)
        if key in _OF_MESSAGES or not named or len(set(values)) < 2:
            continue
        blocks = [list(block) for _, block in groupby(range(len(rows)), key=values.__getitem__)]
        both = ({"user", "assistant"} <= set[str]().union(*(sides[at] for at in block)) for block in blocks)
        if len(blocks) == len(set(values)) and all(both):
            return key
    return None


def _together(path: str, name: str | None, rows: list[_Row], key: str) -> Record:
    rows = _in_order(rows)
    first = rows[0]
    about = {kept: first.value[kept] for kept in KEPT_KEYS if first.value.get(kept)}
    value = {**about, key: [row.value for row in rows], **({"id": name} if name is not None else {})}

    def lines(locs: Sequence[Loc]) -> list[int]:
        return [rows[int(loc[1])].line if len(loc) > 1 and loc[0] == key else first.line for loc in locs]

    return Record(path, first.line, value, lines=lines)


def _in_order(rows: list[_Row]) -> list[_Row]:
    """Sort rows by number, else by time; as they stand where not all of them have the same kind of either."""
    folded = [_folded(row.value) for row in rows]
    for keys, read in ((ORDER_KEYS, _number), (TIME_KEYS, _time)):
        for key in filter(folded[0].__contains__, keys):
            places = [read(row.get(key)) for row in folded]
            if None not in places and len({type(place) for place in places}) == 1:
                return _sorted(rows, places)
    for key in filter(folded[0].__contains__, TIME_KEYS):
        texts = [row.get(key) for row in folded]
        orders = [_sorted(rows, times) for form in _DATES if (times := _times(texts, form))]
        if orders:  # a day and a month that could be either must not matter
            return orders[0] if all(order == orders[0] for order in orders) else rows
    return rows


def _sorted(rows: list[_Row], places: Sequence[Place | None]) -> list[_Row]:
    """Sort rows by their places. Of those at one place the later comes first where the newest stands first."""
    known = [place for place in places if place is not None]
    downwards = _falls(known)
    order = sorted(range(len(rows)), key=lambda at: (places[at], -at if downwards else at))
    return [rows[at] for at in order]


def _times(texts: Sequence[object], form: str) -> list[float]:
    """Read times as spreadsheets and help desks write them; nothing, if one of them is written otherwise."""
    try:
        found = [datetime.strptime(text, form) for text in texts if isinstance(text, str)]
    except ValueError:
        return []
    times = [(time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() for time in found]
    return times if len(times) == len(texts) else []


def _conversation_of(value: Mapping[str, object]) -> str | None:
    folded = _folded(value)
    return _named(folded, conversation_keys(folded))


def _named(folded: Mapping[str, object], keys: Sequence[str]) -> str | None:
    found = (folded[key] for key in keys if key in folded)
    found = (int(name) if isinstance(name, float) and name.is_integer() else name for name in found)
    names = (str(name) for name in found if isinstance(name, str | int) and not isinstance(name, bool))
    return next(filter(str.strip, names), None)


def _folded(value: Mapping[str, object]) -> dict[str, object]:
    return {key_of(key): item for key, item in value.items()}


def _number(value: object) -> Place | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time(value: object) -> Place | None:
    if isinstance(value, str) and _ISO.match(value):
        with suppress(ValueError):
            time = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        return value.replace(" ", "T", 1)
    return _number(value)
