"""The id of a transcript: which of a record's keys it is, and how it is written so that anything can be named by it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from tuneline.data.reading.messages.content import Problem, key_of, kind

CONVERSATION_KEYS = (
    "conversation_id", "conversationid", "thread_id", "threadid", "session_id", "sessionid", "chat_id", "chatid",
    "dialog_id", "dialogue_id", "dialog_index", "ticket_id", "ticketid", "conv_id", "room_id", "case_id", "issue_id",
    "ticket_number", "ticket_no", "case_number", "case_no", "chat_number", "conversation_number", "conversation_uuid",
    "conversations_thread_id", "conversation", "conv", "convo", "thread_ts", "ticket", "thread", "session",
)  # fmt: skip
"""Keys that say which conversation a message belongs to, first those that are tried first."""
_NOUNS = (
    "conversation", "convo", "conv", "dialogue", "dialog", "transcript", "chat", "thread", "session", "ticket", "case",
    "issue", "incident", "call", "room", "interaction", "engagement",
)  # fmt: skip
"""What a conversation is called in the names of other keys, the surest first."""
_NAMING = re.compile(
    rf"(?:(?P<of>[a-z]+)_)?(?P<noun>{'|'.join(_NOUNS)})s?(?:_(?:transcript|session|record|thread))?"
    r"_?(?:id|uid|uuid|guid|sid|key|no|nr|number|num|ref|reference|index|idx|hash)"
)
_OTHERS = frozenset(("tool", "function", "parent", "previous", "prev", "next", "initial", "related", "linked", "root"))
"""Words in front of such a name that make it another thing's: a tool's call, the ticket before."""
ID_KEYS = (
    "id", "transcript_id", *CONVERSATION_KEYS, "uuid", "_id", "span_id", "context_span_id", "trace_id", "run_id",
    "request_id", "requestid", "custom_id", "example_id", "prompt_id", "recordid", "interaction_id",
    "conversation_hash",
)  # fmt: skip
"""Keys that a record may be known by; the first that is there counts."""
CALL_KEYS = (
    "id",
    "transcript_id",
    "span_id",
    "context_span_id",
    "request_id",
    "requestid",
    "custom_id",
    "run_id",
    *ID_KEYS,
)
"""Those of a call of a model, of which a conversation has many."""
MAX_ID_CHARACTERS = 200


class RecordId(NamedTuple):
    """An id; `mended`: it is not to the letter what the record has."""

    id: str
    mended: bool


def conversation_keys(folded: Iterable[str]) -> Sequence[str]:
    """Return those of some keys (as `key_of` writes them) that name a conversation, the surest first."""
    return _ranked(tuple(folded))


@lru_cache(maxsize=1024)
def _ranked(folded: tuple[str, ...]) -> Sequence[str]:
    known = {key: place for place, key in enumerate(CONVERSATION_KEYS)}
    ranks = [(known.get(key, _rank(key)), key) for key in folded]
    return [key for rank, key in sorted((rank, key) for rank, key in ranks if rank is not None)]


@lru_cache(maxsize=4096)
def _rank(key: str) -> int | None:
    """Return how surely a key of no usual spelling names a conversation, behind the usual ones; None if it does not."""
    match = _NAMING.fullmatch(key)
    return None if not match or match["of"] in _OTHERS else len(CONVERSATION_KEYS) + _NOUNS.index(match["noun"])


def names_conversation(message: object) -> bool:
    """Tell whether a message says by itself which conversation it belongs to, as a row of a table does."""
    if not isinstance(message, Mapping):
        return False
    folded = {key_of(str(key)): value for key, value in message.items()}
    found = (folded[key] for key in conversation_keys(folded))
    return any(isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip() for name in found)


def find_id(record: Mapping[str, object], problems: list[Problem], keys: Sequence[str] = ID_KEYS) -> RecordId | None:
    """Return the id of a record; None if it has none, or one that cannot be used, which is a problem then."""
    folded = {key_of(key): key for key in reversed(list(record))}
    for key in (*keys, *(key for key in conversation_keys(folded) if key.endswith(("id", "key", "hash")))):
        name = folded.get(key)
        value = record[name] if name is not None else None
        if isinstance(value, Mapping):
            value = value.get("$oid", value.get("id"))  # as MongoDB exports it
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of whole numbers in which some are missing
        if isinstance(value, bool) or not isinstance(value, str | int):
            if key in ("id", "transcript_id"):
                problems.append(Problem((key,), f"must be a string or a whole number (got {kind(value)})", "id"))
                return None
            continue
        if key == "id" and record.get("transcript_id", value) != value:
            problems.append(Problem(("transcript_id",), "differs from id; keep one of them", "id"))
            return None
        return as_id(value)
    return None


def as_id(value: str | int) -> RecordId:
    """Return the id that a foreign one becomes: what could not name a thing is spelt as in an address (`a%2Fb`)."""
    text = str(value)
    name = "".join(c if _is_plain(c) else quote(c, safe="", errors="replace") for c in text.strip())
    name = name.replace("..", "%2E%2E")
    if len(name) > MAX_ID_CHARACTERS:
        name = f"{name[: MAX_ID_CHARACTERS - 17]}~{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:16]}"
    return RecordId(name, name != value)


def id_of_content(sha256: str) -> str:
    """Return the id of a transcript that has none, from the hash of what was said."""
    return f"t-{sha256[:16]}"


def _is_plain(character: str) -> bool:
    return character.isprintable() and character not in "/\\" and unicodedata.category(character) != "Cf"
