"""Chats that say only who spoke: whoever is named answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

SLACK = [
    {
        "type": "message",
        "subtype": "channel_join",
        "user": "U1",
        "text": "<@U1> has joined",
        "ts": "1",
        "thread_ts": "2",
    },
    {"type": "message", "user": "U1", "text": "p", "ts": "2", "thread_ts": "2"},
    {"type": "message", "user": "U2", "text": "r", "ts": "3", "thread_ts": "2", "parent_user_id": "U1"},
]
LINK = [{"type": "plain", "text": "r"}]
TELEGRAM: dict[str, Any] = {
    "name": "Ann", "type": "personal_chat", "id": 1,
    "messages": [
        {"id": 1, "type": "service", "actor": "Ann", "action": "phone_call", "text": "", "text_entities": []},
        {"id": 2, "type": "message", "from": "Ann", "from_id": "user1", "text": "p", "text_entities": []},
        {"id": 3, "type": "message", "from": "Help Desk", "from_id": "user2", "text": ["r"], "text_entities": LINK},
    ],
}  # fmt: skip
DISCORD = {
    "guild": {"id": "1", "name": "g"},
    "channel": {"id": "2", "name": "help"},
    "messages": [
        {"id": "1", "type": "Default", "content": "p", "author": {"id": "9", "name": "ann", "isBot": False}},
        {"id": "2", "type": "GuildMemberJoin", "content": "Joined the server.", "author": {"id": "7", "name": "eve"}},
        {"id": "3", "type": "Reply", "content": "r", "author": {"id": "8", "name": "helper", "isBot": True}},
        {"id": "4", "type": "ChannelPinnedMessage", "content": "Pinned.", "author": {"id": "8", "name": "helper"}},
        {"id": "5", "type": "Call", "callEndedTimestamp": "2025-01-01", "content": "Started a call.",
         "author": {"id": "8", "name": "helper"}},
        {"id": "6", "type": "8", "callEndedTimestamp": None, "content": "Boosted!", "author": {"id": "8"}},
    ],
}  # fmt: skip
MESSENGER: dict[str, Any] = {
    "participants": [{"name": "Ann"}, {"name": "The Shop"}],
    "messages": [
        {"sender_name": "The Shop", "timestamp_ms": 2, "content": "r"},
        {"sender_name": "Ann", "timestamp_ms": 1, "content": "p"},
    ],
}
TABLE = 'Ticket,Sender Name,Message\n1,Ann,p\n1,"The  shop",r\n'
ACCOUNT = {"about": "x", "chats": {"about": "y", "list": [TELEGRAM]}, "left_chats": {"list": []}}
CHATS: list[tuple[Any, str]] = [
    (ACCOUNT, "user2"),
    (SLACK, "U2"), (TELEGRAM, "help desk"), (TELEGRAM, "user2"), (DISCORD, "helper"), (DISCORD, "8"),
    (MESSENGER, "The Shop"), (TABLE, "the shop"),
]  # fmt: skip


def read(folder: Path, chat: Any, *answering: str) -> ReadTranscripts:
    if isinstance(chat, str):
        (folder / "a.csv").write_text(chat)
    else:
        (folder / "a.json").write_text(json.dumps(chat))
    return read_transcripts(folder, answering=answering)


@pytest.mark.parametrize(("chat", "name"), CHATS)
def test_whoever_is_named_answers_and_everybody_else_asks(tmp_path: Path, chat: Any, name: str) -> None:
    [found] = read(tmp_path, chat, name).transcripts
    assert found.exchanges == (Exchange("p", "r"),)


@pytest.mark.parametrize(("chat", "name"), CHATS)
def test_without_a_name_such_a_chat_is_refused_with_the_way_out(tmp_path: Path, chat: Any, name: str) -> None:
    with pytest.raises(UserError, match=r"`assessor: {answered_by: \[name\]}` says who answers"):
        read(tmp_path, chat)


def test_a_name_by_which_nobody_speaks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nobody in .* speaks by the name Nobody"):
        read(tmp_path, TELEGRAM, "help desk", "Nobody")


def test_a_message_with_a_role_keeps_it_whatever_its_name(tmp_path: Path) -> None:
    said = [("user", "Bert", "p"), ("assistant", "Ann", "r")]
    chat = [{"id": 1, "messages": [{"role": r, "name": n, "content": t} for r, n, t in said]}, {**TELEGRAM, "id": 2}]
    found = read(tmp_path, chat, "Help Desk").transcripts
    assert [t.exchanges for t in found] == [(Exchange("p", "r"),)] * 2


@pytest.mark.parametrize(
    "written", ["r\u00c3\u00bcckw\u00c3\u00a4rts \u00f0\u009f\u0099\u0082", "r\u00fcckw\u00e4rts \U0001f642"]
)
def test_letters_of_messengers_exports_are_mended(tmp_path: Path, written: str) -> None:
    said, asked = MESSENGER["messages"]
    chat = {**MESSENGER, "messages": [{**said, "content": written}, asked]}
    [found] = read(tmp_path, chat, "The Shop").transcripts
    assert found.exchanges == (Exchange("p", "r\u00fcckw\u00e4rts \U0001f642"),)


def test_a_message_that_is_only_a_photo_is_named_as_one(tmp_path: Path) -> None:
    photo = {"id": 9, "type": "message", "from": "Ann", "from_id": "user1", "photo": "(not included)", "text": ""}
    first, *rest = TELEGRAM["messages"]
    with pytest.raises(UserError, match="holds only a file, of which the log has no text"):
        read(tmp_path, {**TELEGRAM, "messages": [first, photo, *rest]}, "user2")
