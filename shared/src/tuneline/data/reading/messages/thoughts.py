"""What a model thought and a program did, where both stand in the text of an answer: nobody saw them as its words.

`<think>…</think>` before an answer, as servers and data sets of models that think write it; Open WebUI's folded
`<details>` of thoughts, of code that ran and of tools that were called.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from tuneline.data.reading.messages.content import call_text

_BEFORE = re.compile(r"\s*<(think|thinking|thought|reasoning)>.*?</\1>\s*", re.DOTALL)
_END = re.compile(r"</think>\s*(?:\n|\Z)")
"""Where a template opens the thought, an answer begins in the middle of it."""
_FOLDED = re.compile(r'<details type="(?P<kind>[a-z_]{1,20})"(?P<about>[^>]*)>.*?</details>\s*', re.DOTALL)
_ABOUT = re.compile(r'(?P<key>name|arguments|result)="(?P<value>[^"]*)"')


class Piece(NamedTuple):
    """A piece of an answer: what it says, or a call of a tool with the result; `thoughts` were left out before it."""

    text: str
    call: str | None = None
    result: str = ""
    thoughts: int = 0


def pieces_of(text: str) -> list[Piece]:
    """Cut an answer into what it says and the tools that it called, without its thoughts."""
    if "</think>" not in text and "<details" not in text and not text.lstrip().startswith("<"):
        return [Piece(text)]
    said = _without_thought(text)
    thoughts = int(said != text) + sum(match["kind"] != "tool_calls" for match in _FOLDED.finditer(said))
    first, *more = _unfolded(said)
    return [first._replace(thoughts=thoughts), *more]


def _without_thought(text: str) -> str:
    if match := _BEFORE.match(text):
        return text[match.end() :]
    end = _END.search(text)
    return text[end.end() :].lstrip() if end and "<think>" not in text[: end.start()] else text


def _unfolded(text: str) -> Iterator[Piece]:
    begin, said = 0, ""
    for match in _FOLDED.finditer(text):
        said += text[begin : match.start()]
        begin = match.end()
        if match["kind"] == "tool_calls":
            about = {one["key"]: html.unescape(one["value"]) for one in _ABOUT.finditer(match["about"])}
            yield Piece(said.rstrip(), call_text(about.get("name"), about.get("arguments")), about.get("result", ""))
            said = ""
    yield Piece(said + text[begin:])
