"""Exports in which something else than a message's role says whose it is: support desks and traces of calls.

Intercom names the kind of each author, Zendesk who asked for the ticket, Freshdesk keeps the first message apart,
OpenTelemetry a call's messages among a span's attributes. A bot's message is an answer where it is said to be one of
a model; else it is a notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser

from tuneline.data.reading.calls import as_json
from tuneline.data.reading.content import Problem
from tuneline.parsing.problems import Loc

Said = tuple[Loc, Mapping[str, object]]
"""A message with role and content, and where it stands."""

DESK_ROLES = {"user": "user", "lead": "user", "contact": "user", "admin": "assistant", "bot": "assistant"}
"""Kinds of authors in Intercom."""
_FIRST = ("source", "conversation_message")
"""Where Intercom keeps a conversation's first message; the second until version 2 of its interface."""
ASKED, ANSWERED = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM = "gen_ai.system_instructions"
_NUMBERED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(role|content)")
_BLOCKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "blockquote", "pre"}
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
        or _is_tree(record)
        or "resourceSpans" in record
        or (record.get("object") == "chat.completion" and not asked)
        or is_span(record)
    )


def is_span(record: Mapping[str, object]) -> bool:
    """Tell whether a record is a span of OpenTelemetry with the messages of a call."""
    return any(name.startswith("gen_ai.") for name in _attributes(record))


def read_export(record: Mapping[str, object], problems: list[Problem], loc: Loc) -> list[Said] | None:
    """Return the messages of a record in one of these forms, in their order; None if it is in none of them."""
    if not is_export(record):
        return None
    parts, comments = record.get("conversation_parts"), record.get("comments")
    if isinstance(parts, Mapping | list):
        return list(_intercom(record, parts, loc))
    if isinstance(comments, list) and record.get("requester_id") is not None:
        return list(_zendesk(record["requester_id"], comments, (*loc, "comments")))
    if _is_freshdesk(record):
        return list(_freshdesk(record, loc))
    refused = {"comments": NO_REQUESTER, "resourceSpans": ENVELOPE, "prompt": REPLIES, "object": ANSWER_ONLY}
    if key := next((key for key in refused if key in record), None):
        problems.append(Problem((*loc, key), refused[key], "shape"))
        return []
    return list(_span(_attributes(record), loc))


def _is_ticket(comments: object) -> bool:
    return (
        isinstance(comments, list)
        and bool(comments)
        and all(isinstance(one, Mapping) and "author_id" in one for one in comments)
    )


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
                "content": _text_of(part.get("body")),
                "automated": named == "bot" and not is_model,
                **{key: part.get(key) for key in ("part_type", "attachments")},
            },
        )


def _zendesk(requester: object, comments: Sequence[Mapping[str, object]], loc: Loc) -> Iterator[Said]:
    for place, comment in enumerate(comments):
        said = comment.get("plain_body") or comment.get("body") or _text_of(comment.get("html_body"))
        role = "user" if str(comment["author_id"]) == str(requester) else "assistant"
        about = {key: comment.get(key) for key in ("public", "via", "attachments")}
        yield (*loc, place), {"role": role, "content": said, "automated": str(comment["author_id"]) == "-1", **about}


def _freshdesk(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    key = "description_text" if record.get("description_text") else "description"
    text = record[key] if key == "description_text" else _text_of(record[key])
    yield (*loc, key), {"role": "user", "content": text, "attachments": record.get("attachments")}
    listed = record["conversations"]
    for place, reply in enumerate(listed if isinstance(listed, list) else []):
        yield (*loc, "conversations", place), reply


def _attributes(record: Mapping[str, object]) -> Mapping[str, object]:
    """Return the attributes of a span: an object, or OTLP's list of keys and values."""
    found = record.get("attributes", record)
    if isinstance(found, Mapping):
        return found
    pairs: dict[str, object] = {}
    for pair in found if isinstance(found, list) else []:
        value = pair.get("value") if isinstance(pair, Mapping) else None
        if isinstance(value, Mapping):
            pairs[str(pair.get("key"))] = next(iter(value.values()), None)
    return pairs


def _span(attributes: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    if ASKED in attributes or ANSWERED in attributes:
        yield from _named(attributes, loc)
        return
    numbered: dict[tuple[bool, int], dict[str, object]] = {}
    for name, value in attributes.items():
        if match := _NUMBERED.fullmatch(name):
            numbered.setdefault((match[1] == "completion", int(match[2])), {})[match[3]] = value
    for (answer, number), message in sorted(numbered.items()):
        where = f"gen_ai.{'completion' if answer else 'prompt'}.{number}"
        yield (*loc, where), {"role": "assistant", **message} if answer else message


def _named(attributes: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    if system := as_json(attributes.get(SYSTEM)):
        yield (*loc, SYSTEM), {"role": "system", "content": system}
    for key in (ASKED, ANSWERED):
        listed = as_json(attributes.get(key))
        for place, message in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(message, Mapping):
                yield (*loc, key, place), message


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _BLOCKS and self.found:
            self.found.append("\n")


def _text_of(body: object) -> str:
    """Return what a body of HTML says."""
    parser = _Text()
    parser.feed(body if isinstance(body, str) else "")
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.found).splitlines())
    return "\n".join(filter(None, lines))
