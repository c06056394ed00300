"""Answers that were logged as they were streamed: the events of a server, of which each holds a piece of the text.

OpenAI's and Anthropic's events, those of Bedrock's Converse, Gemini's chunks and Ollama's lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

EVENT = ("data:", "event:", "id:", ":")
"""How the lines of server-sent events begin."""
TOOL_KEYS = ("tool_calls", "function_call", "partial_json", "toolUse")


def events_of(text: str) -> list[object]:
    """Return the events in a text of server-sent events; nothing for any other text."""
    if not text.lstrip().startswith(EVENT[:2]):
        return []
    found: list[object] = []
    for line in text.splitlines():
        if line.startswith("data:"):
            with suppress(ValueError, RecursionError):  # `[DONE]`, and what is no event of a model
                found.append(json.loads(line[5:]))
        elif line.strip() and not line.startswith(EVENT):
            return []
    return found


def is_stream(events: Sequence[object]) -> bool:
    """Tell whether values are the events of an answer rather than several answers."""
    whole = all(isinstance(event, Mapping) for event in events)
    return whole and any(_delta(event) is not None for event in events if isinstance(event, Mapping))


def text_of(events: Sequence[object]) -> str | None:
    """Return the text that events make together; None where they also call a tool, or give a second answer."""
    pieces: list[str] = []
    for event in events:
        delta = _delta(event) if isinstance(event, Mapping) else None
        if delta is None:
            continue
        if isinstance(delta, Mapping) and any(delta.get(key) for key in TOOL_KEYS):
            return None
        pieces.append(_said(delta))
    return "".join(pieces)


def _said(delta: object) -> str:
    if not isinstance(delta, Mapping):
        return delta if isinstance(delta, str) else ""
    parts = delta.get("parts")
    if isinstance(parts, list):
        seen = (part for part in parts if isinstance(part, Mapping) and part.get("thought") is not True)
        return "".join(text for part in seen if isinstance(text := part.get("text"), str))
    return next((text for key in ("content", "text") if isinstance(text := delta.get(key), str)), "")


def _delta(event: Mapping[str, object]) -> object:
    """Return what an event adds; None, if it is no event of a stream that does."""
    listed = next((event[key] for key in ("choices", "candidates") if isinstance(event.get(key), list)), None)
    if isinstance(listed, list):
        first = listed[0] if listed else None
        if not isinstance(first, Mapping) or first.get("index", 0) != 0:
            return {"tool_calls": True} if isinstance(first, Mapping) and "delta" in first else None
        return first.get("delta", first.get("content") if "candidates" in event else None)
    if isinstance(event.get("done"), bool):  # Ollama
        return event.get("message", event.get("response"))
    inner = event.get("contentBlockDelta")
    if isinstance(inner, Mapping):
        return inner.get("delta")
    kind = event.get("type")
    if kind == "content_block_delta" or (isinstance(kind, str) and kind.endswith("output_text.delta")):
        return event.get("delta")
    return None
