"""The system prompt, in a text file, and what people leave around it when they copy it out of a document."""

from __future__ import annotations

import re
from pathlib import Path

from tuneline.errors import UserError
from tuneline.parsing.text import read_utf8

_FENCED = re.compile(r"^(?P<fence>```+|~~~+)[^\n`]*\n(?P<inside>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)


def read_system_prompt(path: Path | None) -> str | None:
    """Return the system prompt in a text file; None without a file. Raises UserError if it is empty or not UTF-8."""
    if path is None:
        return None
    text = read_utf8(path).strip()
    if not text:
        raise UserError(f"{path.name}: the system prompt is empty; leave the input out to have none")
    return text


def markdown_around(prompt: str) -> str | None:
    """Say what is wrong when the prompt seems to stand in a fence (```) inside of Markdown; None if it does not."""
    blocks = list(_FENCED.finditer(prompt))
    if len(blocks) != 1 or len(blocks[0]["inside"]) <= len(prompt) / 2:
        return None
    first = prompt.count("\n", 0, blocks[0].start("inside")) + 1
    last = prompt.count("\n", 0, blocks[0].end("inside"))
    return (
        f"the prompt stands in a fence ({blocks[0]['fence']}), and the Markdown around it would be said to the model "
        f"too. If that is not meant, keep lines {first} to {last} only."
    )
