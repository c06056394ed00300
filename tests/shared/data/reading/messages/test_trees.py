"""Conversations in which messages were edited and answers made again: what was seen last is the conversation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.reading.messages.trees import way_to_last
from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError

ROOT = "00000000-0000-4000-8000-000000000000"
"""What Claude gives as the parent of a first message."""
CLAUDE = [
    ("1", ROOT, "human", "My lamp hums"),
    ("2", "1", "assistant", "GIVEN UP"),
    ("3", ROOT, "human", "My lamp flickers"),
    ("4", "3", "assistant", "GIVEN UP"),
    ("5", "3", "assistant", "Change the bulb"),
]


def claude(rows: list[tuple[str, str, str, str]] = CLAUDE, **more: Any) -> dict[str, Any]:
    said = [
        {"uuid": name, "parent_message_uuid": parent, "sender": sender, "text": text,
         "content": [{"type": "text", "text": text}], "attachments": [], "files": []}
        for name, parent, sender, text in rows
    ]  # fmt: skip
    return {"uuid": "u", "name": "A talk", "account": {"uuid": "x"}, "chat_messages": said, **more}


def librechat() -> dict[str, Any]:
    said = [("m1", "0", True, "My lamp flickers"), ("m2", "m1", False, "GIVEN UP"), ("m3", "m1", False, "Change it")]
    messages = [
        {"messageId": name, "parentMessageId": parent, "isCreatedByUser": by_user, "text": text}
        for name, parent, by_user, text in said
    ]
    return {"conversationId": "c", "endpoint": "openAI", "branches": True, "recursive": False, "messages": messages}


def read(folder: Path, value: object) -> tuple[Exchange, ...]:
    (folder / "a.json").write_text(json.dumps(value))
    [found] = read_transcripts(folder).transcripts
    return found.exchanges


def test_of_a_list_with_edited_messages_the_path_to_the_last_one_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, [claude()]) == (Exchange("My lamp flickers", "Change the bulb"),)
    assert read(tmp_path, librechat()) == (Exchange("My lamp flickers", "Change it"),)


def test_the_message_that_was_seen_last_is_the_one_that_the_export_names(tmp_path: Path) -> None:
    assert read(tmp_path, claude(current_leaf_message_uuid="2")) == (Exchange("My lamp hums", "GIVEN UP"),)


def test_a_list_that_does_not_branch_is_read_as_it_stands_though_a_parent_is_missing(tmp_path: Path) -> None:
    rows = [("1", "gone", "human", "a"), ("2", "1", "assistant", "b"), ("5", "4", "human", "c"),
            ("6", "5", "assistant", "d")]  # fmt: skip
    assert read(tmp_path, claude(rows)) == (Exchange("a", "b"), Exchange("c", "d"))


def test_the_way_through_a_talk_of_any_length_is_found_at_once() -> None:
    rows = [(str(n), str(n - 1), "human", "a") for n in range(40_000)]
    messages = claude([*rows, ("edited", "38999", "human", "b")])["chat_messages"]
    began = time.process_time()
    assert way_to_last(messages, None) == [*range(39_000), 40_000]
    assert time.process_time() - began < 15


@pytest.mark.parametrize("parent", ["2", "3"])
def test_messages_that_lead_back_to_themselves_end_there(tmp_path: Path, parent: str) -> None:
    rows = [("1", parent, "human", "a"), ("2", "3", "assistant", "b"), ("3", "2", "human", "c"),
            ("4", "3", "assistant", "d")]  # fmt: skip
    assert read(tmp_path, claude(rows))[-1].assistant == "d"


def test_a_problem_with_a_message_of_a_branch_is_at_its_own_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(claude([*CLAUDE[:4], ("5", "3", "robot", "d")])))
    with pytest.raises(UserError, match=r"chat_messages\[4\].sender: must say who speaks"):
        read_transcripts(tmp_path)
