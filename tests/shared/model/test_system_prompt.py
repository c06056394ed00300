from __future__ import annotations

from pathlib import Path

import pytest

from tuneline.errors import UserError
from tuneline.model.system_prompt import markdown_around, read_system_prompt

FENCED = "You are calm.\nYou ask before you advise.\n"


@pytest.mark.parametrize(
    ("prompt", "lines"),
    [
        (f"```\n{FENCED}```", "lines 2 to 3"),
        (f"# Prompt\n\nUse this:\n~~~text\n{FENCED}~~~\n", "lines 5 to 6"),
        (f"```text\n{FENCED}```\nBye.", "lines 2 to 3"),
    ],
)
def test_a_prompt_inside_of_a_fence_is_told_with_its_lines(prompt: str, lines: str) -> None:
    assert lines in (markdown_around(prompt) or "")


@pytest.mark.parametrize(
    "prompt",
    [
        FENCED,
        f"{FENCED * 5}Answer like this:\n```json\n{{}}\n```\n",
        f"```\n{FENCED}```\nor\n```\n{FENCED}```\n",
        f"```\n{FENCED}",
        "Write `code` so.",
    ],
)
def test_a_prompt_that_shows_an_example_in_a_fence_is_fine(prompt: str) -> None:
    assert markdown_around(prompt) is None


def test_a_folder_is_no_system_prompt(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder: give the text file in it"):
        read_system_prompt(tmp_path)
