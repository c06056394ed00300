"""Conversations that begin alike, in token ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from kit.chat_models import CHATML, GEMMA, Family, write_chat_model
from tuneline.model.chat import ChatTokenizer
from tuneline.model.windows import encode_window

TALK = [
    {"role": role, "content": f"{text} {number} 😀"}
    for number in range(4)
    for role, text in (("user", "Where is my order?"), ("assistant", "It left on Monday."))
]
BEGINNINGS = [TALK[:2], TALK[:6], TALK]

THOUGHT = CHATML.replace(
    "message.role + '\\n' + ",
    "message.role + '\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.last and message.role == 'assistant' else '') + ",
)
"""Writes an empty thought into the last answer only, as Qwen3 does."""


UNMARKED = GEMMA.replace("{%- generation %}", "").replace("{% endgeneration %}", "")


@pytest.mark.parametrize(("family", "template"), [*((name, None) for name in get_args(Family)), ("gemma", UNMARKED)])
def test_a_conversation_that_begins_a_longer_one_has_its_first_ids(
    tmp_path: Path, family: Family, template: str | None
) -> None:
    chat = ChatTokenizer.from_folder(write_chat_model(tmp_path, family, template=template))
    *shorter, whole = encode_window(chat, BEGINNINGS)
    assert whole.ids is not None
    assert len(whole.answers) == 4
    for messages, encoded in zip(BEGINNINGS, shorter, strict=False):
        (alone,) = encode_window(chat, [messages])
        assert encoded.ids is None
        assert alone.ids is not None
        assert encoded.answers == alone.answers == whole.answers[: len(messages) // 2]
        assert alone.ids[: alone.answers[-1][1]] == whole.ids[: alone.answers[-1][1]]


def test_one_that_the_template_writes_otherwise_keeps_its_own_ids(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path, "chatml", template=THOUGHT)
    chat = ChatTokenizer.from_folder(folder)
    found = encode_window(chat, BEGINNINGS)
    assert all(encoded.ids for encoded in found)
    alone = [encode_window(chat, [messages])[0] for messages in BEGINNINGS]
    assert found == alone


def test_one_that_says_something_else_keeps_its_own_ids(tmp_path: Path) -> None:
    chat = ChatTokenizer.from_folder(write_chat_model(tmp_path, "chatml"))
    other: list[Mapping[str, str]] = [{"role": "user", "content": "Hello"}, *TALK[1:4]]
    found = encode_window(chat, [other, TALK])
    assert found[0] == encode_window(chat, [other])[0]
