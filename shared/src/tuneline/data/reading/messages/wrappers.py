"""What programs put around a message: LangChain, session logs, LM Studio; and into its text: Telegram, Meta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.data.reading.messages.roles import role_of


def unwrapped(item: Mapping[str, object]) -> Mapping[str, object]:
    """Take a message out of what LangChain and session logs wrap around it."""
    kwargs, names, data, message = item.get("kwargs"), item.get("id"), item.get("data"), item.get("message")
    if item.get("lc") is not None and isinstance(kwargs, Mapping) and isinstance(names, list) and names:
        return {"role": names[-1], **kwargs}
    if isinstance(versions := item.get("versions"), list):
        return _chosen(versions, item.get("currently_selected"))
    if isinstance(data, Mapping) and "content" in data and role_of(item.get("type")):
        return {"role": item["type"], **data}
    if isinstance(message, Mapping) and "content" in message:
        return message if "role" in message else {**item, **message}
    return _with_text(item)


def _with_text(item: Mapping[str, object]) -> Mapping[str, object]:
    entities = item.get("text_entities")
    if isinstance(entities, list) and entities:  # Telegram: text, links, names …
        texts = (str(one["text"]) for one in entities if isinstance(one, Mapping) and "text" in one)
        return {**item, "text": "".join(texts)}
    if isinstance(payload := item.get("payload"), Mapping) and "direction" in item:  # Botpress
        return {**item, "text": payload.get("text")}
    if isinstance(item.get("frames"), list) and item.get("speaker") in ("SYSTEM", 1):
        return {**item, "speaker": "assistant"}  # MultiWOZ and SGD call whoever answers the system
    if "sender_name" in item and "timestamp_ms" in item:
        return {**item, "content": _of_meta(item.get("content"))}
    return item


def _of_meta(text: object) -> object:
    """Read a text of Messenger or Instagram, whose exports write each byte of UTF-8 as a character of its own."""
    if not isinstance(text, str) or text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _chosen(versions: Sequence[object], selected: object) -> Mapping[str, object]:
    """Return the version of a message that LM Studio shows, without thoughts and figures."""
    place = selected if isinstance(selected, int) and 0 <= selected < len(versions) else -1
    version = versions[place] if versions else {}
    if not isinstance(version, Mapping):
        return {}
    steps = version.get("steps")
    blocks = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    shown = [b.get("content") for b in blocks if b.get("type") == "contentBlock" and not _is_thought(b.get("style"))]
    return {"role": version.get("role"), "content": shown if blocks else version.get("content")}


def _is_thought(style: object) -> bool:
    return isinstance(style, Mapping) and style.get("type") == "thinking"
