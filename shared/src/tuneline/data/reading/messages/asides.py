"""What stands beside the messages that two sides say to each other: notes of the staff, notices of programs, files.

Help desks and chat services keep all of it in one list, and each marks it in its own way: a note that the customer
never saw is no part of a conversation, a notice that nobody wrote is nothing to learn, and the text of a file belongs
to the message that it came with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from tuneline.data.reading.messages.roles import bare, role_of

Aside = Literal["note", "notice"]
Side = Literal["user", "assistant"]

PRIVATE = (
    "private", "is_private", "internal", "is_internal", "internal_note", "is_internal_note", "is_note", "is_agent_note",
    "private_note", "is_private_note",
)  # fmt: skip
PUBLIC = ("public", "is_public")
AUTOMATIC = ("automated", "is_automated", "automatic", "is_automatic", "auto_reply", "is_auto_reply", "is_notice")
DELETED = ("deleted", "is_deleted", "was_deleted", "deleted_at", "is_unsent", "recalled", "retracted")
ERRORS = ("error", "is_error", "has_error", "is_api_error_message")
"""Marks of an answer that a program wrote because there was none."""
KINDS = ("part_type", "message_type", "type", "subtype", "kind", "event_type", "channel", "via", "visibility")
NOTES = (
    "note", "notes", "privatenote", "internalnote", "internalcomment", "internal", "private", "agentnote",
    "noteandreopen", "privateprompt", "whisper",
)  # fmt: skip
"""What is for the staff alone, in Intercom, Freshdesk, HubSpot, Gorgias, Front, Crisp, Drift, Chatwoot …"""
NOTICES = (
    "activity", "welcomemessage", "autoreply", "autoresponder", "autoresponse", "automated", "automatedmessage",
    "threadstatuschange", "rule", "trigger", "notification", "channeljoin", "channelleave", "groupjoin", "groupleave",
    "channeltopic", "channelpurpose", "channelname", "remindercomment",
)  # fmt: skip
"""What a rule or a program sends by itself."""

SIDES: Mapping[str, Side] = {
    "incoming": "user", "is_incoming": "user", "inbound": "user", "is_inbound": "user", "from_customer": "user",
    "is_customer": "user", "is_user": "user", "from_user": "user", "from_agent": "assistant", "is_agent": "assistant",
    "outgoing": "assistant", "is_outgoing": "assistant", "outbound": "assistant", "is_outbound": "assistant",
    "is_bot": "assistant", "is_assistant": "assistant", "is_created_by_user": "user", "created_by_user": "user",
}  # fmt: skip
"""Keys whose yes says who speaks, and whose no says that it is the other side."""
WAYS: Mapping[str, Side] = {"incoming": "user", "outgoing": "assistant"}
"""Which way a message goes: where it is said, it counts, because an author of the type `User` may be either side."""
_NUMBERED = ("incoming", "outgoing", "activity", "template")
"""Chatwoot's kinds of messages, by number."""

_SPEAKING = ("role", "sender", "from", "author", "type")
FILES = ("attachments", "files", "files_v2")
ONE_FILE = ("photo", "sticker", "voice_message")
EXTRACTED = ("extracted_content", "extracted_text", "text")


_OF_ASIDES = frozenset(
    (*PRIVATE, *PUBLIC, *AUTOMATIC, *DELETED, *ERRORS, *KINDS, "rule_id", "mes", "conversations_thread_id")
)
_OF_FILES = frozenset((*FILES, *ONE_FILE))
"""Most messages have none of these keys, and there are millions of messages."""


class Attached(NamedTuple):
    """The files that came with a message: what those say of which the log has the text, and how many it only names."""

    texts: tuple[str, ...]
    missing: int


def aside_of(item: Mapping[str, object]) -> Aside | None:
    """Return what a message is that neither side says to the other; None for any other one."""
    if _OF_ASIDES.isdisjoint(item):
        return None
    if _is_hidden(item):
        return "note"
    kinds = {bare(value) for value in _kinds(item)}
    if kinds & {*NOTES} or ("conversations_thread_id" in item and not kinds & {"message", "welcomemessage"}):
        return "note"  # HubSpot's comments are for the staff, its other kinds have no text
    if kinds & {*NOTICES} or any(_is_yes(item.get(key)) for key in AUTOMATIC) or item.get("rule_id"):
        return "notice"
    is_error = any(_is_yes(value := item.get(key)) or (value and isinstance(value, Mapping)) for key in ERRORS)
    return "notice" if is_error and "assistant" in map(role_of, map(item.get, _SPEAKING)) else None


def _is_hidden(item: Mapping[str, object]) -> bool:
    """Tell whether a message is for the staff alone, was deleted, or hidden in a chat of SillyTavern."""
    private = any(_is_yes(item.get(key)) for key in PRIVATE) or any(_is_no(item.get(key)) for key in PUBLIC)
    deleted = any(_is_yes(item.get(key)) or _is_time(item.get(key)) for key in DELETED)
    return private or deleted or ("mes" in item and _is_yes(item.get("is_system")))


def way_of(item: Mapping[str, object]) -> Side | None:
    """Return the role that the way of a message means."""
    if "message_type" not in item:
        return None
    return next(filter(None, (WAYS.get(bare(value)) for value in _kinds(item, ("message_type",)))), None)


def side_of(item: Mapping[str, object]) -> Side | None:
    """Return the role that a key which answers with yes or no means."""
    for key, side in SIDES.items():
        if _is_yes(item.get(key)):
            return side
        if _is_no(item.get(key)):
            return "user" if side == "assistant" else "assistant"
    return None


def attached_to(item: Mapping[str, object]) -> Attached:
    """Return what is attached to a message. A file that two lists name is one."""
    if _OF_FILES.isdisjoint(item):
        return Attached((), 0)
    texts: dict[str, str] = {}
    names: set[str] = set()
    for place, file in enumerate(_files(item)):
        about = file if isinstance(file, Mapping) else {}
        named = about.get("file_name", about.get("filename", about.get("name")))
        name = named if isinstance(named, str) else str(place)
        names.add(name)
        text = next((about[key] for key in EXTRACTED if isinstance(about.get(key), str)), "")
        if isinstance(text, str) and text.strip():
            texts[name] = text
    return Attached(tuple(texts.values()), len(names - texts.keys()))


def _files(item: Mapping[str, object]) -> Iterator[object]:
    for key in (*FILES, *ONE_FILE):
        listed = item.get(key)
        for file in listed if isinstance(listed, list) else [listed] if key in ONE_FILE else []:
            if file and isinstance(file, str | Mapping):
                yield file


def _kinds(item: Mapping[str, object], keys: tuple[str, ...] = KINDS) -> Iterator[str]:
    for key in keys:
        value = item.get(key)
        if isinstance(value, Mapping):  # Zendesk's way in
            value = value.get("channel")
        if key == "message_type" and "private" in item and isinstance(value, int) and 0 <= value < len(_NUMBERED):
            value = _NUMBERED[value]
        if isinstance(value, str) and len(value) < 40:
            yield value


def _is_time(value: object) -> bool:
    return isinstance(value, str) and value[:4].isdigit() and len(value) >= len("2025-01-01")


def _is_yes(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "yes", "1", "t", "y"))


def _is_no(value: object) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() in ("false", "no", "0", "f", "n"))
