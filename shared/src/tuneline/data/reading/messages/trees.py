"""Conversations that are trees, because a message was edited or an answer made again: ChatGPT's and Claude's exports.

What the person saw last is the path from the root to the current message; every other branch was given up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tuneline.data.reading.messages.content import Problem, spelt
from tuneline.parsing.problems import Loc

TREE = "mapping"
PARENTS = ("parent_message_uuid", "parent_message_id", "parent_response_id")
"""Keys by which a message of a list names the one that it follows: Claude, LibreChat, Grok."""
NAMES = ("uuid", "message_id", "id", "_id")
LEAVES = ("current_leaf_message_uuid", "current_message_id")
"""Keys of a conversation that name the message which was seen last."""


def path_of(
    nodes: Mapping[str, object], current: object, problems: list[Problem], loc: Loc
) -> Iterator[tuple[Loc, Mapping[str, object]]]:
    """Yield the messages on the way from the root to the node `current`, as messages with role and content."""
    name = current if isinstance(current, str) and current in nodes else _last_leaf(nodes)
    way: list[Mapping[str, object]] = []
    seen: set[str] = set()
    while isinstance(name, str) and isinstance(node := nodes.get(name), Mapping):
        if name in seen:
            problems.append(Problem(loc, "its messages lead back to themselves", "shape"))
            return
        seen.add(name)
        way.append(node)
        name = node.get("parent")
    for place, node in enumerate(reversed(way)):
        message = node.get("message")
        if isinstance(message, Mapping) and not _is_hidden(message):
            yield (*loc, place), _plain(message)


def versions_in(record: Mapping[str, object]) -> tuple[list[object], object] | None:
    """Return the messages that Open WebUI keeps by name, each with its parent, and which of them was seen last."""
    history = record.get("history")
    held = history.get("messages") if isinstance(history, Mapping) else None
    if not isinstance(history, Mapping) or not isinstance(held, Mapping):
        return None
    named = [{**one, "parent_message_id": one.get("parentId")} for one in held.values() if isinstance(one, Mapping)]
    return [*named], history.get("currentId", history.get("current_id"))


def way_to_last(items: Sequence[object], last: object) -> Sequence[int]:
    """Return which messages of a list lead to the one called `last`, or to the list's last one; all, if none branch."""
    everything = range(len(items))
    first = spelt(items[0]) if items and isinstance(items[0], Mapping) else {}
    key = next((key for key in PARENTS if key in first), None)
    messages = [spelt(item) for item in items if isinstance(item, Mapping)] if key else []
    if key is None or len(messages) < len(items):
        return everything
    parents = [message.get(key) for message in messages]
    known = [parent for parent in parents if isinstance(parent, str)]
    if len(set(known)) == len(known):
        return everything
    places = {str(message.get(name)): place for place, message in enumerate(messages) for name in NAMES}
    place: int | None = places.get(last, len(items) - 1) if isinstance(last, str) else len(items) - 1
    way: dict[int, None] = {}
    while place is not None and place not in way:
        way[place] = None
        parent = parents[place]
        place = places.get(parent) if isinstance(parent, str) else None
    return [*reversed(way)]


def _last_leaf(nodes: Mapping[str, object]) -> str | None:
    """Return the leaf that stands last, as in an export without `current_node`."""
    leaves = [name for name, node in nodes.items() if isinstance(node, Mapping) and not node.get("children")]
    return leaves[-1] if leaves else None


def _is_hidden(message: Mapping[str, object]) -> bool:
    about = message.get("metadata")
    return isinstance(about, Mapping) and about.get("is_visually_hidden_from_conversation") is True


def _plain(message: Mapping[str, object]) -> Mapping[str, object]:
    if isinstance(fragments := message.get("fragments"), list):
        return _of_fragments(fragments)
    author, content, recipient = message.get("author"), message.get("content"), message.get("recipient")
    role = author.get("role") if isinstance(author, Mapping) else author
    found = {"role": role, "content": content, "weight": message.get("weight")}
    about = message.get("metadata")
    found |= {"finish_details": about.get("finish_details")} if isinstance(about, Mapping) else {}
    if role == "assistant" and isinstance(recipient, str) and recipient != "all":
        return found | {"content": [{"type": "tool_use", "name": recipient, "input": _shown(content)}]}
    if isinstance(content, Mapping) and (role == "tool" or content.get("content_type") == "code"):
        return found | {"content": _shown(content)}
    return found | {"content": _spoken(content)}


def _spoken(content: object) -> object:
    """Leave out the recordings of what was spoken and stands there as text, too."""
    parts = content.get("parts") if isinstance(content, Mapping) else None
    if not isinstance(parts, list) or not any(_type_of(part) == "audio_transcription" for part in parts):
        return content
    return [
        {"text": p.get("text", "")} if _type_of(p) == "audio_transcription" else p for p in parts if not _is_heard(p)
    ]


def _is_heard(part: object) -> bool:
    return _type_of(part) in ("audio_asset_pointer", "real_time_user_audio_video_asset_pointer")


def _type_of(part: object) -> object:
    return part.get("content_type") if isinstance(part, Mapping) else None


def _of_fragments(fragments: Sequence[object]) -> Mapping[str, object]:
    """Read a message of DeepSeek's export: what was asked or answered, without thoughts and searches."""
    said = [(part.get("type"), part.get("content")) for part in fragments if isinstance(part, Mapping)]
    role = "user" if any(kind == "REQUEST" for kind, _ in said) else "assistant"
    texts = [text for kind, text in said if kind in ("REQUEST", "RESPONSE") and isinstance(text, str)]
    return {"role": role, "content": "".join(texts)}


def _shown(content: object) -> str:
    """Return the text that code, or a tool's output, has in whatever key."""
    if not isinstance(content, Mapping):
        return str(content or "")
    parts = content.get("parts")
    texts = parts if isinstance(parts, list) else [content.get("text") or content.get("result") or ""]
    return "\n".join(text for text in texts if isinstance(text, str))
