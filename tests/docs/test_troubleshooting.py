"""The page on troubleshooting quotes messages: each still stands in the code, from its first word to its last."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from kit.places import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.compile(r"^\| (?:``? ?)(.+?)(?: ?``?) \| ", re.MULTILINE)
MESSAGES = QUOTED.findall(PAGE)


@cache
def said() -> list[str]:
    """Return every text in the code, with a mark where something is put in."""
    folders = (ROOT / "shared" / "src", *sorted(ROOT.glob("services/*/src")))
    return [text for folder in folders for file in sorted(folder.rglob("*.py")) for text in texts(file.read_text())]


def texts(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


def stands_in_the_code(message: str) -> bool:
    pattern = re.compile(".+".join(re.escape(piece) for piece in message.strip(" …").split("…")), re.DOTALL)
    return any(pattern.search(text) for text in said())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_still_said(message: str) -> None:
    assert len(re.sub(r"[^a-z]", "", message)) >= 12, "too short to be found again"
    assert stands_in_the_code(message)


def test_a_message_that_nobody_says_is_found_out() -> None:
    assert not stands_in_the_code("The judge has wandered off: it scored … of … transcripts")
    assert not stands_in_the_code("… does not exist; if it is on the Hugging Face Hub, type hf://…")


def test_every_row_of_the_page_has_a_cause_and_a_way_out() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| it says")]
    assert len(rows) >= 30 and len(MESSAGES) >= len(rows) - 2, "all rows but two quote a message"
    assert [row for row in rows if len([cell for cell in row.strip("| ").split(" | ") if cell.strip()]) != 3] == []
