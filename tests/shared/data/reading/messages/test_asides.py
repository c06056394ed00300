"""Notes, notices and files beside the messages, as help desks and chat services mark them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.exports import INTERCOM, ZENDESK
from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

ASKED, SAID, SECRET, NOTICE = "The pump leaks", "Tighten the ring", "Rude again", "We reply within a day"
FRESHDESK = {
    "id": 5,
    "description": "<div>The pump leaks</div>",
    "description_text": ASKED,
    "conversations": [
        {"id": 1, "incoming": False, "private": True, "source": 2, "body": f"<p>{SECRET}</p>", "body_text": SECRET},
        {"id": 2, "incoming": False, "private": False, "source": 0, "body": f"<p>{SAID}</p>", "body_text": SAID},
    ],
}
HUBSPOT = {
    "results": [
        {"type": "WELCOME_MESSAGE", "id": "1", "conversationsThreadId": "9", "text": NOTICE, "senders": []},
        {"type": "MESSAGE", "id": "2", "conversationsThreadId": "9", "text": ASKED, "direction": "INCOMING"},
        {"type": "ASSIGNMENT", "id": "3", "conversationsThreadId": "9"},
        {"type": "COMMENT", "id": "4", "conversationsThreadId": "9", "text": SECRET},
        {"type": "MESSAGE", "id": "5", "conversationsThreadId": "9", "text": SAID, "direction": "OUTGOING"},
        {"type": "THREAD_STATUS_CHANGE", "id": "6", "conversationsThreadId": "9", "newStatus": "CLOSED"},
    ]
}
CHATWOOT = {
    "id": 3,
    "messages": [
        {"content": ASKED, "message_type": 0, "private": False, "sender": {"id": 1, "type": "contact"}},
        {"content": "Mia was assigned", "message_type": 2, "private": False},
        {"content": SECRET, "message_type": 1, "private": True, "sender": {"id": 2, "type": "user"}},
        {"content": SAID, "message_type": 1, "private": False, "sender": {"id": 2, "type": "user"}},
    ],
}
GORGIAS = {
    "id": 8,
    "messages": [
        {
            "from_agent": False,
            "public": True,
            "channel": "email",
            "body_text": f"{ASKED}\n> quoted",
            "stripped_text": ASKED,
        },
        {"from_agent": True, "public": True, "channel": "email", "via": "rule", "rule_id": 4, "body_text": NOTICE},
        {"from_agent": True, "public": False, "channel": "internal-note", "body_text": SECRET},
        {"from_agent": True, "public": True, "channel": "email", "via": "helpdesk", "body_text": SAID},
    ],
}
CRISP = {
    "session_id": "s",
    "messages": [
        {"from": "user", "type": "text", "content": ASKED, "automated": False},
        {"from": "operator", "type": "text", "content": NOTICE, "automated": True},
        {"from": "operator", "type": "note", "content": SECRET, "automated": False},
        {"from": "operator", "type": "text", "content": SAID, "automated": False},
    ],
}


def read(folder: Path, value: object) -> ReadTranscripts:
    (folder / "export.json").write_text(json.dumps(value))
    return read_transcripts(folder)


def said(number: int, body: str, author: dict[str, Any], kind: str = "comment") -> dict[str, Any]:
    return {"id": str(number), "part_type": kind, "body": f"<p>{body}</p>", "author": author}


def intercom(*parts: dict[str, Any]) -> dict[str, Any]:
    source = {"type": "conversation", "body": f"<p>{ASKED}</p>", "author": {"type": "user"}}
    return INTERCOM | {"source": source, "conversation_parts": {"conversation_parts": list(parts)}}


@pytest.mark.parametrize(
    ("export", "repairs"),
    [
        (FRESHDESK, {"notes_left_out": 1}),
        (HUBSPOT, {"greetings_kept": 1, "notes_left_out": 3}),
        (CHATWOOT, {"notices_left_out": 1, "notes_left_out": 1}),
        (GORGIAS, {"notices_left_out": 1, "notes_left_out": 1}),
        (CRISP, {"notices_left_out": 1, "notes_left_out": 1}),
    ],
    ids=["freshdesk", "hubspot", "chatwoot", "gorgias", "crisp"],
)
def test_neither_notes_nor_notices_are_taken_for_an_answer(
    tmp_path: Path, export: object, repairs: dict[str, int]
) -> None:
    found = read(tmp_path, export)
    [transcript] = found.transcripts
    assert (transcript.exchanges, transcript.unlearnt) == ((Exchange(ASKED, SAID),), ())
    assert {kind: count for kind, count in found.repairs.items() if kind != "ids_mended"} == repairs


def test_rows_that_are_private_are_notes_whoever_wrote_them(tmp_path: Path) -> None:
    rows = f"ticket_id,incoming,is_private,body\n7,true,false,{ASKED}\n7,false,true,{SECRET}\n7,false,false,{SAID}\n"
    (tmp_path / "export.csv").write_text(rows)
    found = read_transcripts(tmp_path)
    assert found.transcripts[0].exchanges == (Exchange(ASKED, SAID),)
    assert found.repairs == {"notes_left_out": 1}


def test_a_bots_notice_in_front_of_a_persons_answer_is_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, intercom(said(1, NOTICE, {"type": "bot"}), said(2, SAID, {"type": "admin"})))
    [transcript] = found.transcripts
    assert (transcript.exchanges, transcript.unlearnt) == ((Exchange(ASKED, SAID),), ())
    assert found.repairs["notices_left_out"] == 1


def test_a_notice_that_is_all_that_was_answered_is_context_and_never_learnt(tmp_path: Path) -> None:
    admin, user, bot = {"type": "admin"}, {"type": "lead"}, {"type": "bot"}
    [transcript] = read(
        tmp_path, intercom(said(1, "Which room?", bot), said(2, "The cellar", user), said(3, SAID, admin))
    ).transcripts
    assert transcript.exchanges == (Exchange(ASKED, "Which room?"), Exchange("The cellar", SAID))
    assert transcript.unlearnt == (0,)


@pytest.mark.parametrize("mark", ["from_ai_agent", "is_ai_answer"])
def test_what_a_model_answers_as_a_bot_is_learnt(tmp_path: Path, mark: str) -> None:
    [transcript] = read(tmp_path, intercom(said(1, SAID, {"type": "bot", mark: True}))).transcripts
    assert (transcript.exchanges, transcript.unlearnt) == ((Exchange(ASKED, SAID),), ())


@pytest.mark.parametrize("about", [{"author_id": -1}, {"author_id": 9, "via": {"channel": "rule"}}])
def test_what_a_rule_writes_into_a_ticket_is_a_notice(tmp_path: Path, about: dict[str, object]) -> None:
    notice = {"id": 4, "body": NOTICE, "public": True, **about}
    found = read(tmp_path, ZENDESK | {"comments": [*ZENDESK["comments"], notice]})
    assert found.transcripts[0].exchanges == (Exchange("It broke", "Restart it"),)
    assert (found.repairs["notices_left_out"], found.repairs["notes_left_out"]) == (1, 1)


def claude(attachments: object, files: object, text: str = "What is wrong?") -> dict[str, object]:
    asked = {"sender": "human", "text": text, "attachments": attachments, "files": files}
    return {"uuid": "c", "chat_messages": [asked, {"sender": "assistant", "text": "Line 2"}]}


def test_the_text_of_an_attached_file_is_part_of_the_message(tmp_path: Path) -> None:
    attached = {"file_name": "a.log", "file_size": 9, "file_type": "txt", "extracted_content": "1 ok\n2 failed"}
    found = read(tmp_path, claude([attached], [{"file_name": "a.log"}, {"file_name": "b.png"}]))
    assert found.transcripts[0].exchanges == (Exchange("1 ok\n2 failed\n\nWhat is wrong?", "Line 2"),)
    assert found.repairs == {"attachments_joined": 1, "attachments_missing": 1}


def test_a_message_that_is_only_a_file_without_text_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chat_messages\[0\].text: holds only a file, of which the log has no text"):
        read(tmp_path, claude([], [{"file_name": "b.png"}], text=""))


@pytest.mark.parametrize("medium", [{"image": "a.jpg"}, {"images": ["a.jpg"]}, {"videos": [{"path": "v"}]}])
def test_a_picture_that_a_text_only_points_to_is_refused(tmp_path: Path, medium: dict[str, object]) -> None:
    asked = {"from": "human", "value": "<image>\nWhat is this?" if "videos" not in medium else "<video>What?"}
    with pytest.raises(UserError, match=r"\.jsonl?:1: \w+: is no text \(a picture, sound or file\)"):
        read(tmp_path, {"id": "m", "conversations": [asked, {"from": "gpt", "value": "A cat"}], **medium})


def test_a_picture_beside_a_conversation_that_does_not_speak_of_it_changes_nothing(tmp_path: Path) -> None:
    talk = {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]}
    assert read(tmp_path, {"image": "avatar.png", "images": [], **talk}).transcripts[0].exchanges == (
        Exchange(ASKED, SAID),
    )


@pytest.mark.parametrize(
    "mark", [{"deleted": True}, {"is_deleted": "true"}, {"deletedAt": "2025-01-01T10:00:00Z"}, {"is_unsent": True}]
)
def test_a_message_that_was_taken_back_is_no_part_of_the_conversation(tmp_path: Path, mark: dict[str, Any]) -> None:
    kept: list[dict[str, Any]] = [
        {"role": "user", "content": ASKED, "deleted": False},
        {"role": "assistant", "content": SAID, "deletedAt": None},
    ]
    gone = [{**one, "content": SECRET, **mark} for one in kept]
    found = read(tmp_path, [{"messages": [kept[0], gone[1], gone[0], kept[1]]}])
    assert [one.exchanges for one in found.transcripts] == [(Exchange(ASKED, SAID),)]
    assert found.repairs["notes_left_out"] == 2


@pytest.mark.parametrize("mark", [{"error": True}, {"isError": True}, {"error": {"code": 429}}])
def test_an_error_that_a_program_wrote_is_no_answer(tmp_path: Path, mark: dict[str, Any]) -> None:
    said = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": NOTICE, **mark},
            {"role": "assistant", "content": SAID, "error": None}]  # fmt: skip
    assert read(tmp_path, [{"messages": said}]).transcripts[0].exchanges == (Exchange(ASKED, SAID),)
    alone = read(tmp_path, [{"messages": [*said[:2], said[0], said[2]]}]).transcripts[0]
    assert (len(alone.exchanges), alone.unlearnt) == (2, (0,))
