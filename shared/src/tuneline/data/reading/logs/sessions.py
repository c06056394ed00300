"""Sessions of coding agents, an event per line: what Claude Code and Codex keep of each talk, and Gemini CLI's files.

Much in them was said by nobody: notices, commands, what a program tells its agent, and talks that an agent had with
another one. Where a message was taken back, what followed it was given up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.data.reading.logs.platforms import rows_of
from tuneline.data.reading.records import Record
from tuneline.parsing.problems import Loc

ITEMS = ("response_item", "event_msg", "session_meta", "turn_context", "compacted", "world_state")
"""Kinds of lines in Codex's files, each with a `payload`; of these only the first are what was said."""
SAID = (
    "message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
)  # fmt: skip
"""Kinds of items that are read; the others say how a program worked."""
EVENTS = (
    "queue-operation", "last-prompt", "custom-title", "ai-title", "agent-name", "permission-mode", "mode", "pr-link",
    "progress", "attachment", "attribution-snapshot", "content-replacement", "worktree-state", "tag",
)  # fmt: skip
"""Kinds of lines of Claude Code that stand before the first message, and hold none."""
NOTICES = (
    "<command-", "<local-command-", "<bash-", "<system-reminder>", "<task-notification>", "[Request interrupted",
    "<environment_context>", "<user_instructions>", "<permissions", "<turn_aborted>", "<user_shell_command>",
    "<collaboration_mode>", "# AGENTS.md instructions",
)  # fmt: skip
"""How texts begin that a program wrote as if a user had."""
_REMINDER = re.compile(
    r"<(system-reminder|in-app-browser-context|ide_opened_file|ide_selection|ide_diagnostics)>.*?</\1>\s*", re.DOTALL
)
"""What a program adds to the words of a user."""
TOLD = ("info", "warning", "error", "system")
"""Kinds of messages in Gemini CLI's files that are the program's own."""


class _Line(NamedTuple):
    """A line of a session: its number, what it says, its name and the one that it follows."""

    line: int
    message: Mapping[str, object]
    name: str | None = None
    parent: str | None = None


def sessions(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records of a file, in which the lines of a session are one."""
    found: dict[str, list[_Line]] = {}
    current, path, claude = "", "", False
    for record in records:
        value = record.value
        if not isinstance(value, Mapping) or record.problem:
            yield record
        elif _is_codex(value) or value.keys() == {"record_type"}:
            current, path = _name_of(value) or current, record.path
            found.setdefault(current, []).extend(_codex(value, record.lines_of([()])[0]))
        elif _is_claude(value, begun=claude):
            current, path, claude = str(value["sessionId"]), record.path, True
            found.setdefault(current, []).extend(_claude(value, record.lines_of([()])[0]))
        elif current and not claude and isinstance(value.get("type"), str):  # Codex of before
            found[current] += [_Line(record.lines_of([()])[0], value)] if value["type"] in SAID else []
        elif (rows := rows_of(value)) is not None:
            yield from (record._replace(value=row) for row in rows)
        else:
            yield record._replace(value=_gemini(value))
    for name, lines in found.items():
        cleaned = [line._replace(message=_cleaned(line.message)) for line in _seen(lines)]
        if kept := [line for line in cleaned if line.message]:
            yield _together(path, name, kept)


def _is_codex(value: Mapping[str, object]) -> bool:
    wrapped = value.get("type") in ITEMS and isinstance(value.get("payload"), Mapping)
    return wrapped or (value.keys() >= {"id", "timestamp", "git"} and "role" not in value and "type" not in value)


def _name_of(value: Mapping[str, object]) -> str | None:
    about = value.get("payload") if value.get("type") == "session_meta" else value if "git" in value else None
    name = about.get("id") if isinstance(about, Mapping) else None
    return name if isinstance(name, str) else None


def _codex(value: Mapping[str, object], line: int) -> Iterator[_Line]:
    item = value.get("payload")
    if value.get("type") == "response_item" and isinstance(item, Mapping) and item.get("type") in SAID:
        yield _Line(line, item)


def _is_claude(value: Mapping[str, object], *, begun: bool) -> bool:
    """Tell whether a record is a line of Claude Code's: a message, or what happened beside them."""
    if not isinstance(value.get("sessionId"), str):
        return False
    event = "message" not in value and (begun or value.get("type") in EVENTS)
    return event or (isinstance(value.get("isSidechain"), bool) and isinstance(value.get("uuid"), str))


def _claude(value: Mapping[str, object], line: int) -> Iterator[_Line]:
    message, added = value.get("message"), value.get("attachment")
    if isinstance(added, Mapping) and added.get("type") == "queued_command":
        message = {"role": "user", "content": added.get("prompt")}  # said while the agent was at work
    aside = any(value.get(key) is True for key in ("isMeta", "isSidechain", "isApiErrorMessage"))
    if not isinstance(message, Mapping) or aside:
        return
    name, parent = value.get("uuid"), value.get("parentUuid") or value.get("logicalParentUuid")
    named = {"role": value["type"], **message}
    yield _Line(line, named, str(name), parent if isinstance(parent, str) else None)


def _seen(lines: Sequence[_Line]) -> list[_Line]:
    """Return the lines but for those that follow a message which was taken back and said otherwise."""
    if not any(line.name for line in lines):
        return [*lines]
    parents = {line.name: line.parent for line in lines}
    way: set[str | None] = set()
    name = lines[-1].name
    while name is not None and name not in way:
        way.add(name)
        name = parents.get(name)
    branches = {line.parent for line in lines if line.name in way and line.parent in parents}
    gone: set[str | None] = set()
    for line in lines:  # each stands behind the one that it follows
        taken_back = line.parent in branches and line.name not in way and _is_asked(line.message)
        if taken_back or line.parent in gone:
            gone.add(line.name)
    return [line for line in lines if line.name not in gone]


def _is_asked(message: Mapping[str, object]) -> bool:
    return message.get("role") == "user" and bool(_text(message).strip())


def _cleaned(message: Mapping[str, object]) -> Mapping[str, object]:
    """Return a message without what a program wrote into it; nothing, if that is all."""
    if message.get("role") in ("developer", "system"):
        return {}
    if message.get("role") != "user":
        return message
    content = message.get("content")
    if isinstance(content, str):
        text = _without_notices(content)
        return {**message, "content": text} if text else {}
    parts = [_cleaned_part(part) for part in content] if isinstance(content, list) else []
    kept = [part for part in parts if part]
    return {**message, "content": kept} if kept else {}


def _cleaned_part(part: object) -> object:
    if not isinstance(part, Mapping) or not isinstance(text := part.get("text"), str):
        return part
    return {**part, "text": left} if (left := _without_notices(text)) else None


def _without_notices(text: str) -> str:
    left = _REMINDER.sub("", text).strip()
    return "" if left.startswith(NOTICES) else left


def _text(message: Mapping[str, object]) -> str:
    """Return what a message says in texts: nothing for what a tool returned."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text"))


def _gemini(value: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out what Gemini CLI itself says in a session of it."""
    messages = value.get("messages")
    if "projectHash" not in value or not isinstance(messages, list):
        return value
    return {
        **value,
        "messages": [one for one in messages if not isinstance(one, Mapping) or one.get("type") not in TOLD],
    }


def _together(path: str, name: str, lines: Sequence[_Line]) -> Record:
    def places(locs: Sequence[Loc]) -> list[int]:
        return [lines[int(loc[1])].line if len(loc) > 1 else lines[0].line for loc in locs]

    value = {"messages": [line.message for line in lines], **({"id": name} if name else {})}
    return Record(path, lines[0].line, value, lines=places)
