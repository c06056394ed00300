"""What a message says: text, or parts of text, thoughts, pictures, calls of tools and their results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from tuneline.parsing.problems import Loc

MAX_PER_RECORD = 100
"""Problems of a record after which nothing more is looked for: whoever mends these will see the rest."""
EMPTY = "no_exchange"
"""The kind of what holds no conversation because there was none: no fault of whoever wrote it down."""
MAX_DEPTH = 8
"""Levels of parts in parts: a result of a tool holds parts itself."""

TEXTS = ("text", "input_text", "output_text", "summary_text", "multimodal_text", "markdown", "refusal")
THOUGHTS = (
    "thinking", "redacted_thinking", "reasoning", "thoughts", "reasoning_recap", "user_editable_context",
    "model_editable_context", "token_budget", "step-start", "flag",
)  # fmt: skip
"""Parts that nobody saw: a model's thoughts, and what a program keeps beside the conversation."""
PASSED = ("source-", "data-")
"""How kinds of parts begin that a program keeps beside what is said: where something was found, its own data."""
CALLS = ("tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "tool-call", "function_call", "functionCall")
RESULTS = (
    "tool_result", "tool-result", "function_call_output", "functionResponse", "function_response", "tool_response",
)  # fmt: skip
MEDIA = re.compile(r"image|audio|video|file|document|media|inline_?data|blob|picture|voice|attachment", re.IGNORECASE)
KEYED = ("functionCall", "function_call", "functionResponse", "function_response")
"""Parts of Gemini, whose one key says what they are."""

_PLAIN = re.compile(r"[^\sA-Z.-]+")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a word begins in `senderType` and `TicketID`."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character outside the first plane: JSON can spell it alone, UTF-8 cannot write it."""


class Problem(NamedTuple):
    """What is wrong with the value at `loc`, in words that quote nothing, and its kind, for counting."""

    loc: Loc
    text: str
    kind: str


class Content(NamedTuple):
    """What one message says: its text, and the tools' part. `is_silent`: it holds nothing that anybody saw."""

    text: str
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    is_silent: bool = False
    parts: int = 1


def spelt(record: Mapping[str, object]) -> Mapping[str, object]:
    """Return a record with its keys as `key_of` writes them; itself where two of them would be one."""
    if _are_plain(tuple(record)):
        return record
    found = {key_of(str(key)): value for key, value in record.items()}
    return found if len(found) == len(record) else record


@lru_cache(maxsize=1024)
def _are_plain(keys: tuple[object, ...]) -> bool:
    """Tell whether keys are spelt so already; the same few lists of keys come again and again."""
    return all(isinstance(key, str) and _PLAIN.fullmatch(key) for key in keys)


@lru_cache(maxsize=1024)
def key_of(name: str) -> str:
    """Return the name of a key or column in small letters with its words apart: `sender_type` for `Sender Type`."""
    return re.sub(r"[\s_.-]+", "_", _WORD.sub("_", name.strip().rstrip(" .:#?"))).casefold()


def kind(value: object) -> str:
    """Name the kind of a JSON value, with its article, for a message that must not show the value."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


def read_content(value: object, loc: Loc, problems: list[Problem], *, joint: str) -> Content:
    """Read what a message says; texts of several parts are joined with `joint`."""
    if isinstance(value, str):
        return Content(check_text(value, loc, problems))
    parts = _Parts(problems)
    parts.take(value, loc, 0)
    silent = not (parts.texts or parts.calls or parts.results or parts.bad) and parts.unseen > 0
    return Content(joint.join(parts.texts), tuple(parts.calls), tuple(parts.results), silent, len(parts.texts))


def check_text(value: str, loc: Loc, problems: list[Problem]) -> str:
    """Return the text, or nothing and a problem where it cannot be written down."""
    if "\0" in value:
        problems.append(Problem(loc, "contains a NUL character", "content"))
    elif SURROGATE.search(value):
        problems.append(Problem(loc, "contains half of a surrogate pair, which is not a character", "content"))
    else:
        return value
    return ""


def call_text(name: object, arguments: object) -> str:
    """Write down the call of a tool: its name and arguments as JSON, as Hermes and Qwen write it."""
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):  # kept as the text that it is
            arguments = json.loads(arguments)
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def text_of_result(value: object) -> str:
    """Return what a tool returned, as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Parts:
    """What the parts of a message hold, so far."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self.texts: list[str] = []
        self.calls: list[str] = []
        self.results: list[str] = []
        self.unseen = 0
        self.bad = False

    def take(self, value: object, loc: Loc, depth: int) -> None:
        """Add a part, or a list of them."""
        if len(self._problems) >= MAX_PER_RECORD:
            return
        if isinstance(value, str):
            self.texts += filter(str.strip, [check_text(value, loc, self._problems)])
        elif isinstance(value, Sequence) and depth < MAX_DEPTH:
            for index, part in enumerate(value):
                self.take(part, (*loc, index), depth + 1)
        elif isinstance(value, Mapping) and depth < MAX_DEPTH:
            self._take_object(value, loc, depth)
        elif value is not None:
            self._refuse(loc, f"must be a string (got {kind(value)})", "content")

    def _take_object(self, part: Mapping[str, object], loc: Loc, depth: int) -> None:
        named = part.get("type", part.get("content_type"))
        name = named if isinstance(named, str) else next((key for key in KEYED if key in part), "")
        if name in THOUGHTS or name.startswith(PASSED) or part.get("thought") is True or part.get("phase") == "think":
            self.unseen += 1
        elif name == "dynamic-tool" or (name.startswith("tool-") and name not in (*CALLS, *RESULTS)):
            self._take_used(part, name)
        elif name in CALLS:
            about = _inner(part)
            arguments = about.get("input", about.get("arguments", about.get("args")))
            self.calls.append(call_text(about.get("name"), arguments))
        elif name in RESULTS or name.endswith("_tool_result"):
            self._take_result(_inner(part), loc, depth)
        elif MEDIA.search(name) or (not named and any(MEDIA.search(str(key)) for key in part)):
            self._refuse(loc, "is no text (a picture, sound or file)", "image")
        else:
            self._take_text(part, loc, depth)

    def _take_used(self, part: Mapping[str, object], name: str) -> None:
        """Take a tool that was used, with what it was asked and returned, as Vercel's AI SDK keeps it."""
        inner = part.get("toolInvocation")
        about = inner if isinstance(inner, Mapping) else part
        called = about.get("toolName", name.removeprefix("tool-"))
        self.calls.append(call_text(called, about.get("args", about.get("input"))))
        found = about.get("result", about.get("output"))
        self.results.append(text_of_result(found))

    def _take_text(self, part: Mapping[str, object], loc: Loc, depth: int) -> None:
        key = next((key for key in ("text", "parts", "content", "value", "refusal") if part.get(key) is not None), None)
        named = part.get("type", part.get("content_type"))
        if key is None or (named is not None and named not in TEXTS and key != "parts"):
            self._refuse(loc, "is a part of an unknown kind", "content")
        else:
            self.take(part[key], (*loc, key), depth + 1)

    def _take_result(self, part: Mapping[str, object], loc: Loc, depth: int) -> None:
        said = next((part[key] for key in ("content", "output", "response", "result") if part.get(key) is not None), "")
        if isinstance(said, Sequence) and not isinstance(said, str):
            inner = _Parts(self._problems)
            inner.take(said, loc, depth + 1)
            said = "\n".join(inner.texts)
        self.results.append(text_of_result(said))

    def _refuse(self, loc: Loc, text: str, kind: str) -> None:
        self._problems.append(Problem(loc, text, kind))
        self.bad = True


def _inner(part: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a part of Gemini holds under its one key, else the part itself."""
    found = next((part[key] for key in KEYED if isinstance(part.get(key), Mapping)), part)
    return found if isinstance(found, Mapping) else part
