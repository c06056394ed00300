"""Bots and contact centres whose records say in their own way who speaks, and editors that talk with a model.

Contact Lens and Genesys name the participants beside the transcript, Dialogflow CX and Voiceflow keep what was asked
and answered deep in requests and traces, VS Code a request with the pieces of its answer, Google's Takeout one prompt a
record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tuneline.data.reading.logs.calls import as_json
from tuneline.data.reading.logs.spans import Said
from tuneline.data.reading.messages.content import spelt
from tuneline.data.reading.messages.pages import text_of
from tuneline.parsing.problems import Loc

PURPOSES = {"internal": "assistant", "external": "user"}
"""Sides of a call in Genesys."""
PROMPTED = "Prompted "
"""How Google's Takeout begins the title of what was asked."""
HEADERS = ("Gemini Apps", "Bard")
_KEYS = frozenset(("participants", "transcripts", "interactions", "transcript", "responderUsername", "header"))
"""Most records have none of these keys, and there are millions of records."""

Reader = Callable[[Mapping[str, object], Loc], Iterator[Said]]


def is_platform(record: Mapping[str, object]) -> bool:
    """Tell whether a record is in one of these forms."""
    return _reader(record) is not None


def read_platform(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    """Yield the messages of a record in one of these forms, in their order; none of any other record."""
    reader = _reader(record)
    yield from reader(record, loc) if reader else ()


def rows_of(value: Mapping[str, object]) -> list[Mapping[str, object]] | None:
    """Return the messages in a row of a bot's log, each as a row of its own; None for any other record."""
    if isinstance(value.get("conversation_name"), str) and "turn_position" in value:  # Dialogflow CX in BigQuery
        about = {"conversation_id": value["conversation_name"]}
        place = value["turn_position"]
        first = 2 * int(str(place)) if str(place).isdigit() else 0
        said = _interaction(value)
        return [{**about, "turn_index": first + at, **message} for at, message in enumerate(said)]
    if "turnID" in value and value.get("format") in ("request", "trace", "launch"):  # Voiceflow
        return list(_event(value))
    if value.get("header") in HEADERS and "title" in value and "safeHtmlItem" not in value:
        return []
    return None


def _reader(record: Mapping[str, object]) -> Reader | None:
    if _KEYS.isdisjoint(record):
        return None
    inner = record.get("transcript")
    forms: tuple[tuple[bool, Reader], ...] = (
        (_has_people(record), _contact_lens),
        (any("phrases" in one for one in _objects(record.get("transcripts"))), _genesys),
        (any(_at(one, "response", "queryResult") for one in _objects(record.get("interactions"))), _dialogflow),
        (isinstance(inner, Mapping) and isinstance(inner.get("logs"), list), _voiceflow),
        ("responderUsername" in record and isinstance(record.get("requests"), list), _copilot),
        (record.get("header") in HEADERS and str(record.get("title")).startswith(PROMPTED), _takeout),
    )
    return next((reader for is_one, reader in forms if is_one), None)


def _has_people(record: Mapping[str, object]) -> bool:
    """Tell whether the participants stand beside a transcript that names them by their ids alone."""
    said = _objects(record.get("transcript"))
    return bool(said and _objects(record.get("participants"))) and not any("participant_role" in spelt(o) for o in said)


def _contact_lens(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    people = [spelt(one) for one in _objects(record["participants"])]
    roles = {one.get("participant_id"): one.get("participant_role") for one in people}
    for place, item in _numbered(record["transcript"]):
        by = spelt(item).get("participant_id")
        yield (*loc, "transcript", place), {**item, "participant_role": roles.get(by, by)}


def _genesys(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    for number, one in _numbered(record["transcripts"]):
        for place, phrase in _numbered(one.get("phrases")):
            by = phrase.get("participantPurpose")
            where = (*loc, "transcripts", number, "phrases", place)
            yield where, {"role": PURPOSES.get(str(by), by), "content": phrase.get("text")}


def _dialogflow(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    """Yield what was asked and answered, oldest first: each turn says when it was."""
    turns = sorted(_numbered(record["interactions"]), key=lambda turn: str(turn[1].get("createTime", "")))
    for place, turn in turns:
        for message in _interaction(turn):
            yield (*loc, "interactions", place), message


def _interaction(turn: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the two sides of a turn of Dialogflow CX; of an event, as the welcome, only the answer."""
    result = _at(turn, "response", "queryResult")
    texts = (_at(turn, "request", "queryInput", "text", "text"), _at(result, "text"), _at(result, "transcript"))
    if asked := next((text for text in texts if isinstance(text, str) and text.strip()), None):
        yield {"role": "user", "content": asked}
    messages = _objects(_at(result, "responseMessages"))
    said = [text for one in messages for text in _texts(_at(one, "text", "text"))]
    if said:
        yield {"role": "assistant", "content": "\n".join(said)}


def _voiceflow(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    inner = record["transcript"]
    for place, one in _numbered(inner["logs"] if isinstance(inner, Mapping) else None):
        data = as_json(one.get("data"))
        kind = "request" if one.get("type") == "action" else "trace"
        for message in _event({**data, "format": kind}) if isinstance(data, Mapping) else ():
            yield (*loc, "transcript", "logs", place), message


def _event(value: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield what a request or a trace of Voiceflow says; debugging, choices and ends say nothing."""
    payload, kind = value.get("payload"), value.get("type")
    if isinstance(payload, Mapping) and payload.get("type") == kind and "payload" in payload:
        payload = payload["payload"]
    if value.get("format") == "trace":
        text = _at(payload, "message") if kind in ("text", "speak") else None
    else:
        kind = _at(value, "payload", "type") if kind == "request" else kind
        payload = payload["payload"] if isinstance(payload, Mapping) and "payload" in payload else payload
        text = payload if isinstance(payload, str) else _at(payload, "query") or _at(payload, "label")
    if isinstance(text, str) and text.strip():
        yield {"role": "assistant" if value.get("format") == "trace" else "user", "content": text}


def _copilot(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    for place, one in _numbered(record["requests"]):
        here = (*loc, "requests", place)
        yield here, {"role": "user", "content": _at(one, "message", "text")}
        yield here, {"role": "assistant", "content": [*_pieces(_objects(one.get("response")))]}


def _pieces(parts: Sequence[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    for part in parts:
        text = part.get("value", _at(part, "content", "value"))
        if part.get("kind") == "toolInvocationSerialized":
            yield {"type": "tool_use", "name": part.get("toolId"), "input": {}}
        elif part.get("kind") == "inlineReference":
            yield {"type": "text", "text": f"`{part.get('name')}`"}
        elif isinstance(text, str) and part.get("kind") in (None, "markdownContent"):
            yield {"type": "text", "text": text}


def _takeout(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    yield (*loc, "title"), {"role": "user", "content": str(record["title"]).removeprefix(PROMPTED)}
    pages = [text_of(one.get("html")) for one in _objects(record.get("safeHtmlItem"))]
    yield (*loc, "safeHtmlItem"), {"role": "assistant", "content": "\n\n".join(filter(None, pages))}


def _at(value: object, *keys: str) -> object:
    """Return what stands deep in objects, which a table has as texts of JSON."""
    for key in keys:
        value = as_json(value)
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str) and text.strip()] if isinstance(value, list) else []


def _objects(value: object) -> list[Mapping[str, object]]:
    return [one for _, one in _numbered(value)]


def _numbered(value: object) -> list[tuple[int, Mapping[str, object]]]:
    return [(at, one) for at, one in enumerate(value) if isinstance(one, Mapping)] if isinstance(value, list) else []
