"""What a reasoning model thinks before it speaks: servers without a parser for it leave it in the answer."""

from __future__ import annotations

import re

_THOUGHT = r"(?:\w{1,20}:)?(?:think|thinking|thoughts?|reason|reasoning)"
_OPENED = re.compile(
    rf"<{_THOUGHT}>|◁{_THOUGHT}▷|\[think\]|<\|(?:start|begin_of)_{_THOUGHT}\|>"
    r"|<\|channel\|?>(?:analysis|commentary|thought)|<\|open\|>think",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"</{_THOUGHT}>|◁/{_THOUGHT}▷|\[/think\]|<\|(?:end|end_of)_{_THOUGHT}\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?|<channel\|>|<\|close\|>think<\|sep\|>|\[begin final response\]",
    re.IGNORECASE,
)
"""How the templates of reasoning models write where a thought begins and where it ends."""


def plain_answer(text: str) -> str:
    """Return what a model says without its thoughts, as it can be stored."""
    return storable(without_thoughts(text)).strip()


def storable(text: str) -> str:
    """Return a text with `?` for what no file holds, or no reader of transcripts takes: half a surrogate pair, NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def without_thoughts(text: str) -> str:
    """Return what follows the last thought that ended, up to the next that begins; the beginning may be missing."""
    closed = list(_CLOSED.finditer(text))
    return _OPENED.split(text[closed[-1].end() if closed else 0 :], maxsplit=1)[0]
