"""Conversations that are one text, in which a mark before each message says whose it is.

Lines as `Customer: …` and `[10:02] Agent: …`, `### Human: …`, or the control tokens of a chat template. What names no
role, as a person's name does, is no mark: then nothing here says who is who.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tuneline.data.reading.messages.roles import Role, role_of

KEYS = (
    "conversation", "conversations", "messages", "transcript", "dialogue", "dialog", "chat", "chat_log",
    "chat_transcript", "conversation_text", "chat_history", "history", "log", "text", "content", "body",
)  # fmt: skip
"""Keys and columns under which such a text may stand."""
_KEYS = frozenset(KEYS)
_TOKENS = (
    re.compile(r"<\|im_start\|>(?P<who>\w{1,20})\n(?P<text>.*?)(?:<\|im_end\|>|\Z)", re.DOTALL),
    re.compile(
        r"<\|start_header_id\|>(?P<who>\w{1,20})<\|end_header_id\|>(?P<text>.*?)(?:<\|eot_id\|>|<\|end_of_text\|>|\Z)",
        re.DOTALL,
    ),
    re.compile(r"<start_of_turn>(?P<who>\w{1,20})\n(?P<text>.*?)(?:<end_of_turn>|\Z)", re.DOTALL),
)
"""ChatML, Llama 3, Gemma."""
_INST = re.compile(r"\[INST\](?P<asked>.*?)\[/INST\](?P<said>.*?)(?=<s>|\[INST\]|\Z)", re.DOTALL)
_SYS = re.compile(r"\s*<<SYS>>(?P<system>.*?)<</SYS>>", re.DOTALL)
_LABEL = re.compile(
    r"(?:^|\n)[ \t]*(?:[\[(][^\])\n]{1,40}[\])][ \t]*)?(?:\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?[ \t]*[-–]?[ \t]*)?"
    r"(?P<who>[A-Za-z][\w /-]{0,30})(?:[ \t]*[\[(][^\])\n]{1,40}[\])])?[ \t]*:(?=\s)"
)
_HEADING = re.compile(r"###[ \t]*(?P<who>[A-Za-z][\w /-]{0,30}):")
_ENDS = re.compile(r"(?:\s*(?:<\|(?:endoftext|im_end|eot_id|end)\|>|</s>|<end_of_turn>))+\s*\Z")
"""Tokens that end an answer, left where a text was rendered for a model."""
_MAYBE = re.compile(r"\n[^\n]{1,99}:\s|###|<\|im_start|<\|start_header|<start_of_turn|\[INST\]")
"""What a text has that could be one: most messages have none of it, and there are millions of messages."""
_SHORT: Mapping[str, Role] = {"q": "user", "a": "assistant", "u": "user"}


class Said(NamedTuple):
    """One message of a text."""

    role: Role
    text: str


def written_in(record: Mapping[str, object]) -> tuple[str, list[Said]] | None:
    """Return the key of a record under which such a text stands, and its messages."""
    if _KEYS.isdisjoint(record):
        return None
    return next(((key, said) for key in KEYS if key in record and (said := _read_written(record[key]))), None)


def _read_written(value: object) -> list[Said]:
    """Return the messages of a text that marks both sides; nothing for any other text or value."""
    if not isinstance(value, str) or not _MAYBE.search(value):
        return []
    found = next(filter(None, (_by_tokens(value, form) for form in _TOKENS)), None)
    found = found or _by_inst(value) or _by_label(value, _HEADING) or _by_label(value, _LABEL)
    return found if {one.role for one in found} >= {"user", "assistant"} else []


def _by_tokens(text: str, form: re.Pattern[str]) -> list[Said]:
    said = [(role_of(match["who"]), match["text"].strip()) for match in form.finditer(text)]
    return [Said(role, words) for role, words in said if role]


def _by_inst(text: str) -> list[Said]:
    found: list[Said] = []
    for match in _INST.finditer(text):
        asked, said = match["asked"], match["said"].strip().removesuffix("</s>").strip()
        if system := _SYS.match(asked):
            found.append(Said("system", system["system"].strip()))
            asked = asked[system.end() :]
        found += [Said("user", asked.strip()), Said("assistant", said)]
    return found


def _by_label(text: str, form: re.Pattern[str]) -> list[Said]:
    """Cut a text before each of its labels. Of each side the first label counts: others may be said in a message."""
    labels: dict[Role, str] = {}
    marks: list[tuple[int, int, Role]] = []
    for match in form.finditer(text):
        label = match["who"].strip().casefold()
        role = _SHORT.get(label) or role_of(label)
        if role in ("user", "assistant", "system") and labels.setdefault(role, label) == label:
            marks.append((match.start(), match.end(), role))
    if not marks or text[: marks[0][0]].strip():
        return []
    ends = [start for start, *_ in marks[1:]] + [len(text)]
    return [
        Said(role, _ENDS.sub("", text[begin:end]).strip()) for (_, begin, role), end in zip(marks, ends, strict=True)
    ]


def read_marked(text: str) -> Said | None:
    """Return what a text says behind a mark at its beginning that names a role; None for any other text."""
    match = _LABEL.match(text)
    role = role_of(match["who"].strip()) if match else None
    return Said(role, text[match.end() :].strip()) if match and role else None
