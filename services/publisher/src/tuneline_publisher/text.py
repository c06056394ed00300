"""Text on its way into a card: Markdown and YAML that no foreign name can break."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

import yaml

from tuneline.parsing.problems import printable
from tuneline.stage import Json


def plain(text: object) -> str:
    """Return foreign text as one line that Markdown shows as it is."""
    line = html.escape(printable(" ".join(str(text).split())), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~@!])", r"\\\1", line)


def code(text: object) -> str:
    """Return foreign text as a code span on one line; a backtick and a bar cannot end it."""
    return f"`{printable(' '.join(str(text).split())).replace('`', chr(0x2019)).replace('|', chr(0xA6))}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table; its cells are Markdown already."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def card(front: Mapping[str, Json], lines: Iterable[str]) -> str:
    """Return a README.md: front matter, which only a YAML writer spells, and the text."""
    written = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{written}---\n\n" + "\n".join(lines).rstrip() + "\n"
