"""Exports in which something else than a message's role says whose it is: support desks, Grok, traces of calls.

Intercom names the kind of each author, Zendesk who asked for the ticket, LiveChat the kind of each user, Help Scout who
wrote each thread; Freshdesk keeps the first message apart, OpenTelemetry a call's messages among a span's attributes.
A bot's message is an answer where it is said to be one of a model; else it is a notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tuneline.data.reading.logs.platforms import is_platform, read_platform
from tuneline.data.reading.logs.spans import Said, is_span, read_span
from tuneline.data.reading.messages.content import Problem
from tuneline.data.reading.messages.pages import text_of
from tuneline.data.reading.messages.trees import way_to_last
from tuneline.parsing.problems import Loc

DESK_ROLES = {"user": "user", "lead": "user", "contact": "user", "admin": "assistant", "bot": "assistant"}
"""Kinds of authors in Intercom."""
_FIRST = ("source", "conversation_message")
"""Where Intercom keeps a conversation's first message; the second until version 2 of its interface."""
ANSWER_ONLY = "an answer of a model, without what it was asked: export the messages of the request beside it"
ENVELOPE = "spans in OTLP's envelope: write one span a line (jq -c '.resourceSpans[].scopeSpans[].spans[]')"
REPLIES = "a tree in which a message has several answers; export one conversation per record"
NO_REQUESTER = "a ticket with comments, and no `requester_id` that says which of them are the customer's"


def is_export(record: Mapping[str, object]) -> bool:
    """Tell whether a record is in one of these forms."""
    asked = any(key in record for key in ("messages", "request", "input", "inputs", "prompt"))
    return (
        isinstance(record.get("conversation_parts"), Mapping | list)
        or _is_ticket(record.get("comments"))
        or _is_freshdesk(record)
        or bool(_livechat_events(record))
        or isinstance(_threads(record), list)
        or _is_grok(record)
        or _is_tree(record)
        or "resourceSpans" in record
        or (record.get("object") == "chat.completion" and not asked)
        or is_platform(record)
        or is_span(record)
    )


def read_export(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> list[Said] | None:
    """Return the messages of a record in one of these forms, in their order; None if it is in none of them."""
    if not is_export(record):
        return None
    parts, comments = record.get("conversation_parts"), record.get("comments")
    if isinstance(parts, Mapping | list):
        return list(_intercom(record, parts, loc))
    if isinstance(comments, list) and (requester := _requester(record)) is not None:
        return list(_zendesk(requester, comments, (*loc, "comments")))
    for is_one, read in (
        (_is_freshdesk, _freshdesk),
        (_livechat_events, _livechat),
        (_threads, _help_scout),
        (_is_grok, _grok),
        (is_platform, read_platform),
    ):
        if is_one(record):
            return list(read(record, loc))
    refused = {"comments": NO_REQUESTER, "resourceSpans": ENVELOPE, "prompt": REPLIES, "object": ANSWER_ONLY}
    if key := next((key for key in refused if key in record), None):
        problems.append(Problem((*loc, key), refused[key], "shape"))
        return []
    return list(read_span(record, loc))


def _is_ticket(comments: object) -> bool:
    return (
        isinstance(comments, list)
        and bool(comments)
        and all(isinstance(one, Mapping) and "author_id" in one for one in comments)
    )


def _requester(record: Mapping[str, object]) -> object:
    """Return who asked for a ticket: an id, or an object with one in the export of a whole account."""
    asked = record.get("requester")
    return record.get("requester_id", asked.get("id") if isinstance(asked, Mapping) else None)


def _livechat_events(record: Mapping[str, object]) -> list[object]:
    thread = record.get("thread")
    events = thread.get("events") if isinstance(thread, Mapping) and isinstance(record.get("users"), list) else None
    return events if isinstance(events, list) else []


def _threads(record: Mapping[str, object]) -> list[object] | None:
    held = record.get("_embedded")
    threads = held.get("threads") if isinstance(held, Mapping) else None
    return threads if isinstance(threads, list) else None


def _is_grok(record: Mapping[str, object]) -> bool:
    listed = record.get("responses")
    if not isinstance(record.get("conversation"), Mapping) or not isinstance(listed, list):
        return False
    return all(isinstance(one, Mapping) and isinstance(one.get("response"), Mapping) for one in listed)


def _is_freshdesk(record: Mapping[str, object]) -> bool:
    listed = record.get("conversations")
    asked = isinstance(record.get("description_text") or record.get("description"), str)
    return asked and isinstance(listed, list) and all(isinstance(o, Mapping) and "incoming" in o for o in listed)


def _is_tree(record: Mapping[str, object]) -> bool:
    root = record.get("prompt")  # OpenAssistant's
    return isinstance(root, Mapping) and isinstance(root.get("replies"), list)


def _intercom(record: Mapping[str, object], parts: object, loc: Loc) -> Iterator[Said]:
    here: Loc = (*loc, "conversation_parts")
    if isinstance(parts, Mapping):
        here, parts = (*here, "conversation_parts"), parts.get("conversation_parts")
    listed = parts if isinstance(parts, list) else []
    for place, part in (
        *(((*loc, name), record.get(name)) for name in _FIRST),
        *(((*here, n), part) for n, part in enumerate(listed)),
    ):
        if not isinstance(part, Mapping) or not (part.get("body") or part.get("attachments")):
            continue
        author = part.get("author")
        about = author if isinstance(author, Mapping) else {}
        named = about.get("type")
        is_model = about.get("from_ai_agent") or about.get("is_ai_answer")
        yield (
            place,
            {
                "role": DESK_ROLES.get(str(named), named),
                "content": text_of(part.get("body")),
                "automated": named == "bot" and not is_model,
                **{key: part.get(key) for key in ("part_type", "attachments")},
            },
        )


def _zendesk(requester: object, comments: Sequence[Mapping[str, object]], loc: Loc) -> Iterator[Said]:
    for place, comment in enumerate(comments):
        said = comment.get("plain_body") or comment.get("body") or text_of(comment.get("html_body"))
        role = "user" if str(comment["author_id"]) == str(requester) else "assistant"
        about = {key: comment.get(key) for key in ("public", "via", "attachments")}
        yield (*loc, place), {"role": role, "content": said, "automated": str(comment["author_id"]) == "-1", **about}


def _freshdesk(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    key = "description_text" if record.get("description_text") else "description"
    text = record[key] if key == "description_text" else text_of(record[key])
    yield (*loc, key), {"role": "user", "content": text, "attachments": record.get("attachments")}
    listed = record["conversations"]
    for place, reply in enumerate(listed if isinstance(listed, list) else []):
        yield (*loc, "conversations", place), reply


def _livechat(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    users = record["users"]
    known = [user for user in users if isinstance(user, Mapping)] if isinstance(users, list) else []
    kinds = {str(user.get("id")): user.get("type") for user in known}
    for place, event in enumerate(_livechat_events(record)):
        if isinstance(event, Mapping) and event.get("type") == "message":
            role = kinds.get(str(event.get("author_id")))
            private = event.get("visibility", event.get("recipients")) == "agents"
            where = (*loc, "thread", "events", place)
            yield where, {"role": role, "content": event.get("text"), "private": private}


def _help_scout(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    """Yield the threads, oldest first: the interface gives the newest first."""
    threads = [(place, one) for place, one in enumerate(_threads(record) or []) if isinstance(one, Mapping)]
    threads.sort(key=lambda thread: str(thread[1].get("createdAt", "")))
    for place, thread in threads:
        author = thread.get("createdBy")
        by_customer = isinstance(author, Mapping) and author.get("type") == "customer"
        if thread.get("type") != "lineitem" and thread.get("body"):
            about = {"role": "user" if by_customer else "assistant", "content": text_of(thread["body"])}
            yield (*loc, "_embedded", "threads", place), {**about, "type": thread.get("type")}


def _grok(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    listed, about = record["responses"], record["conversation"]
    held = [one["response"] for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    leaf = about.get("leaf_response_id") if isinstance(about, Mapping) else None
    for place in way_to_last(held, leaf):
        message = held[place]
        if isinstance(message, Mapping):
            said = {"role": message.get("sender"), "content": message.get("message")}
            yield (*loc, "responses", place, "response"), said
