"""Rows of tables and logs: which conversation a message belongs to is told, or asked for, and never made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tuneline.data.transcripts import Exchange, Transcript, read_transcripts
from tuneline.errors import UserError

TWO = [(1, "customer", "p"), (1, "agent", "r"), (2, "customer", "q"), (2, "agent", "s")]
BOTH = [Transcript("1", (Exchange("p", "r"),)), Transcript("2", (Exchange("q", "s"),))]


def write_table(path: Path, column: str, said: Sequence[tuple[object, str, str]]) -> None:
    path.write_text("\n".join([f"{column},speaker,text", *(",".join(map(str, row)) for row in said)]))


@pytest.mark.parametrize(
    "column",
    ["call_id", "CallSid", "transcript_id", "convo_id", "chat_session_id", "conversationKey", "Chat Ref",
     "ConversationSid", "InteractionId", "ConversationTranscriptId", "Conversation no.", "dialogue_index", "Conv"],
)  # fmt: skip
def test_a_column_that_is_called_after_a_conversation_names_it(tmp_path: Path, column: str) -> None:
    write_table(tmp_path / "a.csv", column, TWO)
    assert read_transcripts(tmp_path).transcripts == BOTH


def test_a_list_of_such_rows_is_as_many_conversations(tmp_path: Path) -> None:
    rows = [{"callId": name, "speaker": by, "text": text} for name, by, text in TWO]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert read_transcripts(tmp_path).transcripts == BOTH


@pytest.mark.parametrize("column", ["contact", "uniqueid", "file", "Conversation name", "parent_ticket_id"])
def test_a_column_that_seems_to_name_conversations_is_asked_about(tmp_path: Path, column: str) -> None:
    write_table(tmp_path / "a.csv", column, TWO)
    with pytest.raises(UserError) as refused:
        read_transcripts(tmp_path)
    folded = column.replace(" ", "_").casefold()
    assert f"a.csv:2: names no conversation, and the column `{folded}` cuts the messages into several" in str(
        refused.value
    )
    assert "call it conversation_id" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "values"), [("mood", "abba"), ("language", "aaaa"), ("date", "abbc"), ("n", "abcd")]
)
def test_a_column_that_says_something_about_messages_cuts_nothing(tmp_path: Path, column: str, values: str) -> None:
    said = [(value, by, text) for value, (_, by, text) in zip(values, TWO, strict=False)]
    write_table(tmp_path / "a.csv", column, said)
    [found] = read_transcripts(tmp_path).transcripts
    assert found.exchanges == (Exchange("p", "r"), Exchange("q", "s"))


def test_rows_without_the_name_that_others_have_are_refused_and_never_one_conversation(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", "conversation_id", [("", *row[1:]) if row[1] == "agent" else row for row in TWO])
    with pytest.raises(
        UserError, match=r"a\.csv:3: 2 messages name no conversation, where others of the file do: fill"
    ):
        read_transcripts(tmp_path)


def test_a_record_is_known_by_such_a_key_too(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
    (tmp_path / "a.json").write_text(json.dumps([{"call_id": "c7", "session_number": 1, "messages": said}]))
    assert [one.id for one in read_transcripts(tmp_path).transcripts] == ["c7"]
