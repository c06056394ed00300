"""What people leave around a system prompt when they copy it out of a document."""

from __future__ import annotations

import re

_FENCED = re.compile(r"^(?P<fence>```+|~~~+)[^\n`]*\n(?P<inside>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)


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
