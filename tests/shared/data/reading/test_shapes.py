"""Logs and exports as people have them: every shape becomes the same transcript."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.mixed_logs import SHAPES, Turns, as_rows, talk, write_csv, write_mixed_logs, write_parquet
from tuneline.data.transcripts import Exchange, Transcript, read_transcripts
from tuneline.errors import UserError

TURNS = talk(7, random.Random(7))
EXCHANGES = tuple(Exchange(u[1], a[1]) for u, a in zip(TURNS[::2], TURNS[1::2], strict=True))
SYSTEMS = {"developer", "gemini", "anthropic_log", "responses"}


def read(path: Path) -> list[Transcript]:
    return read_transcripts(path).transcripts


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_becomes_the_same_transcript(tmp_path: Path, shape: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SHAPES[shape]("case-7", TURNS)))
    system = "Be brief." if shape in SYSTEMS else None
    assert read(tmp_path) == [Transcript("case-7", EXCHANGES, system)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "p", "response": "r"}, ("p", "r")),
        ({"prompt": "p", "completion": "r"}, ("p", "r")),
        ({"question": "p", "answer": "r"}, ("p", "r")),
        ({"instruction": "Add.", "input": "1 and 2", "output": "3"}, ("Add.\n\n1 and 2", "3")),
        ({"instruction": "Add.", "context": "1 and 2", "response": "3"}, ("Add.\n\n1 and 2", "3")),
        ({"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "bot", "content": "r"}]}, ("p", "r")),
        ({"inputs": {"question": "p"}, "outputs": {"answer": "r"}}, ("p", "r")),
        ({"input": "[p", "output": "{r"}, ("[p", "{r")),
        ({"data": ["p", "r"]}, ("p", "r")),
        ({"messages": [{"role": "user", "content": "p"}], "response": "r"}, ("p", "r")),
        ({"messages": [{"role": "user", "content": "p"}], "choices": [{"message": {"content": "r"}}]}, ("p", "r")),
        ({"turns": [{"customer": "p", "agent": "r"}]}, ("p", "r")),
        ({"customer_message": "p", "agent_reply": "r"}, ("p", "r")),
        ({"conversation": [["p", "r"]]}, ("p", "r")),
        ([{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}], ("p", "r")),
        ({"chat": {"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}}, ("p", "r")),
        ({"messages": json.dumps([{"from": "USER", "value": "p"}, {"from": "Bot", "value": "r"}])}, ("p", "r")),
        ({"messages": [{"author": {"type": "lead"}, "body": "p"}, {"author": "bot", "body": "r"}]}, ("p", "r")),
        ({"messages": [{"direction": "inbound", "body": "p"}, {"direction": "outbound", "body": "r"}]}, ("p", "r")),
        ({"messages": [{"role": "user", "content": "p"},
                       {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"},
                                                         {"type": "text", "text": "r"}]}]}, ("p", "r")),
    ],
)  # fmt: skip
def test_pairs_lists_and_nested_logs_are_read(tmp_path: Path, record: object, expected: tuple[str, str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    [found] = read(tmp_path)
    assert found.exchanges == (Exchange(*expected),)


@pytest.mark.parametrize(
    "record",
    [
        {"user": "u-1", "model": "some-model", "text": "Hello"},
        {"customer": "Ann", "agent": "Bert", "status": "open"},
        {"user": "ann", "answer": "r"},
        {"items": ["apple", "pear"]},
        {"messages": [{"role": "user", "content": "p"}], "model": "m"},
        {"messages": [{"role": "user", "content": "p"}], "choices": [{"text": "r"}, {"text": "s"}]},
        {"text": "User: p Bot: r"},
        {"message_tree_id": "t", "parent_id": None, "role": "prompter", "text": "p"},
    ],
)
def test_what_only_looks_like_a_conversation_is_refused(tmp_path: Path, record: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(
        UserError,
        match=r"a.json:1: .*(holds no conversation|has no answer|several answers|must be an object|of a tree)",
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    "keys",
    [("chosen", "rejected"), ("preferred_output", "non_preferred_output"), ("conversation_a", "conversation_b"),
     ("response_0", "response_1"), ("models", "completions")],
)  # fmt: skip
def test_two_answers_to_one_question_are_a_choice_that_people_make(tmp_path: Path, keys: tuple[str, str]) -> None:
    asked = [{"role": "user", "content": "p"}]
    rows = [{"prompt": "p", "response": "r"}, {"input": {"messages": asked}} | {key: [{"text": "r"}] for key in keys}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=rf"a.jsonl:2: {keys[0]}: a preference pair"):
        read(tmp_path)


def test_rows_that_answer_each_other_and_name_no_conversation_are_never_one(tmp_path: Path) -> None:
    said = [(1, True, "p", ""), (2, False, "r", 1), (3, True, "other people's", "")]
    rows = [dict(zip(("tweet_id", "inbound", "text", "in_response_to_tweet_id"), row, strict=True)) for row in said]
    write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(UserError, match=r"3 of 3 .*\na.csv:2: .*add a column `conversation_id`"):
        read(tmp_path)
    write_csv(tmp_path / "a.csv", [row | {"thread_id": "t"} for row in rows[:2]])
    assert [t.exchanges for t in read(tmp_path)] == [(Exchange("p", "r"),)]


@pytest.mark.parametrize(
    ("user", "assistant"),
    [("customer", "agent"), ("client", "representative"), ("human", "ai"), ("USER", "ASSISTANT"), ("user", "model"),
     ("Visitor", "Chat-Bot"), ("End User", "support_rep"), ("prompter", "assistant"), ("Customer 2", "agent:12")],
)  # fmt: skip
def test_the_sides_have_any_usual_name(tmp_path: Path, user: str, assistant: str) -> None:
    said = [{"role": user, "content": "p"}, {"role": assistant, "content": "r"}]
    (tmp_path / "a.json").write_text(json.dumps({"messages": said}))
    assert read(tmp_path)[0].exchanges == (Exchange("p", "r"),)


def test_what_a_tool_was_asked_is_dropped_kept_or_refused_by_choice(tmp_path: Path) -> None:
    blocks = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."},
                                          {"type": "tool_use", "id": "1", "name": "find", "input": {"n": 7}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "on its way"}]},
        {"role": "assistant", "content": "It is on its way."},
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"id": "a", "messages": blocks}))
    with pytest.raises(UserError, match="choose what becomes of it with `tools`, drop or keep"):
        read(tmp_path)
    dropped = read_transcripts(tmp_path, tools="drop")
    assert dropped.transcripts[0].exchanges == (Exchange("Where is it?", "I look.\n\nIt is on its way."),)
    assert dropped.repairs == {"tools_dropped": 2, "turns_joined": 1}
    kept = read_transcripts(tmp_path, tools="keep")
    call = 'I look.\n<tool_call>\n{"name": "find", "arguments": {"n": 7}}\n</tool_call>'
    result = "<tool_response>\non its way\n</tool_response>"
    assert kept.transcripts[0].exchanges == (Exchange("Where is it?", call), Exchange(result, "It is on its way."))
    assert kept.repairs == {"tools_kept": 2}


def test_a_note_between_two_messages_stays_with_the_user_and_parts_are_joined(tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A "}, {"type": "text", "text": "b."}]},
        {"role": "system", "content": "A member."},
        {"role": "user", "content": "Three."},
        {"role": "system", "content": "Angry."},
        {"role": "assistant", "content": "C."},
        {"role": "system", "content": "The chat has ended."},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"id": "a", "messages": said}))
    found = read_transcripts(tmp_path)
    expected = (Exchange("One.\nTwo.", "A b."), Exchange("A member.\n\nThree.\n\nAngry.", "C."))
    assert found.transcripts[0].exchanges == expected
    assert found.repairs == {"parts_joined": 2, "notes_joined": 2, "turns_joined": 2}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_table_has_a_message_per_row_in_any_order(tmp_path: Path, separator: str) -> None:
    other: Turns = [("user", 'He said "no";\nthen, left|'), ("assistant", "I see.\tGood.")]
    write_csv(tmp_path / "a.csv", as_rows({"case-7": TURNS, "case-8": other}), separator)
    assert read(tmp_path) == [
        Transcript("case-7", EXCHANGES),
        Transcript("case-8", (Exchange(other[0][1], other[1][1]),)),
    ]


def test_a_table_has_a_question_and_its_answer_per_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"Prompt": "p", "Response": "r"}, {"Prompt": "q", "Response": "s"}])
    assert {t.exchanges for t in read(tmp_path)} == {(Exchange("p", "r"),), (Exchange("q", "s"),)}
    rows = [{"session_id": "s1", "turn": turn, "question": f"q{turn}", "answer": f"a{turn}"} for turn in (10, 9, 2)]
    write_csv(tmp_path / "a.csv", rows)
    assert read(tmp_path) == [Transcript("s1", tuple(Exchange(f"q{n}", f"a{n}") for n in (2, 9, 10)))]


@pytest.mark.parametrize(
    ("keys", "user", "assistant"),
    [
        (("Ticket ID", "Author Role", "Comment Body"), "end-user", "agent"),
        (("conversationId", "senderType", "messageText"), "customer", "bot"),
        (("TicketNumber", "From", "Message"), "Visitor", "Agent"),
        (("Conversation-ID", "Message Type", "message_body"), "incoming", "outgoing"),
        (("Case No.", "ROLE", "CONTENT"), "USER", "ASSISTANT"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_and_keys_may_be_spelt_in_any_way(
    tmp_path: Path, keys: tuple[str, str, str], user: str, assistant: str, kind: str
) -> None:
    said = [(7, user, "p"), (7, assistant, "r"), (8, user, "q"), (8, assistant, "s")]
    rows = [dict(zip(keys, row, strict=True)) for row in said]
    if kind == "csv":
        write_csv(tmp_path / "a.csv", rows)
    elif kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path) == [Transcript("7", (Exchange("p", "r"),)), Transcript("8", (Exchange("q", "s"),))]


@pytest.mark.parametrize(
    "record",
    [
        {"Messages": [{"Role": "User", "Content": "p"}, {"Role": "Assistant", "Content": "r"}]},
        {"chatHistory": [{"senderType": "user", "messageText": "p"}, {"senderType": "agent", "messageText": "r"}]},
        {"Prompt": "p", "Response": "r"},
        {"userMessage": "p", "assistantMessage": "r"},
    ],
)
def test_keys_of_a_record_may_be_spelt_in_any_way(tmp_path: Path, record: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"Conversations": [{"Id": 4, **record}]}))
    assert read(tmp_path) == [Transcript("4", (Exchange("p", "r"),))]


@pytest.mark.parametrize(
    "times",
    [
        ("2025-03-01T10:00:00+02:00", "2025-03-01T08:30:00Z", "2025-03-01T09:00:00.5Z", "2025-03-01T09:00:01Z"),
        ("3/2/2025 9:58", "3/2/2025 9:59", "3/2/2025 10:00", "3/2/2025 10:01"),
        ("3/25/2025 11:58 AM", "3/25/2025 12:01 PM", "3/25/2025 1:00 PM", "3/25/2025 1:01 PM"),
        ("30.01.2025 23:59", "31.01.2025 00:00", "01.02.2025 08:00", "01.02.2025 08:01"),
        ("25/12/25 08:00:01", "25/12/25 08:00:09", "25/12/25 08:00:10", "01/01/26 08:00:00"),
        ("Tue Oct 31 22:10:47 +0000 2017", "Tue Oct 31 22:11:00 +0000 2017",
         "Wed Nov 01 00:00:00 +0000 2017", "Wed Nov 01 00:00:01 +0000 2017"),
        ("2025-03-01 10:00", "2025-03-01 10:00", "2025-03-01 10:00", "2025-03-01 10:01"),
    ],
)  # fmt: skip
def test_a_table_with_the_newest_message_first_is_put_in_order(tmp_path: Path, times: tuple[str, ...]) -> None:
    said = [("user", "p"), ("assistant", "r"), ("user", "q"), ("assistant", "s")]
    rows = [("c", time, *one) for time, one in zip(times, said, strict=True)]
    keys = ("chat_id", "date", "from", "text")
    write_csv(tmp_path / "a.csv", [dict(zip(keys, row, strict=True)) for row in rows[::-1]])
    assert read(tmp_path) == [Transcript("c", (Exchange("p", "r"), Exchange("q", "s")))]


def test_numbers_that_became_fractions_still_name_conversations(tmp_path: Path) -> None:
    rows = [{"ticket_id": n, "role": by, "content": by} for n in (1.0, 2.0) for by in ("user", "assistant")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [t.id for t in read(tmp_path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,prompt,prompt\n", "a.csv:1: two columns have the same name"),
        ("prompt,response\np,r\np,r,x\n", "a.csv:3: 3 cells in a row of a table with 2 columns"),
        ('prompt,response\np,r\np,"r\n', "a.csv:3: not a table: a quote has no end, or stands inside of a cell"),
        ("prompt,response\np,\n", "a.csv:2: response: is empty"),
        ("speaker,text\nAnna,p\nBert,r\n", "a.csv:2: holds no conversation: a text, and no key or column such as role"),
        ("name,note\nAnna,p\n", "a.csv:2: holds no conversation"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError) as refused:
        read(tmp_path)
    assert str(refused.value).splitlines()[1].startswith(problem)


def test_parquet_is_read_with_lists_structs_and_other_types(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [SHAPES["openai"](f"t{n:02}", TURNS) | {"score": 0.5} for n in range(50)])
    assert [t.id for t in read(tmp_path)] == [f"t{n:02}" for n in range(50)]
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"a.parquet:1: the Parquet file is damaged"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.jsonl", "a.csv.zst"])
def test_zst_is_recognised_whatever_the_name(tmp_path: Path, name: str) -> None:
    with pa.CompressedOutputStream(str(tmp_path / name), "zstd") as file:
        file.write(json.dumps(SHAPES["openai"]("a", TURNS)).encode())
    assert [t.id for t in read(tmp_path)] == ["a"]
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(UserError, match=r"1: (the compressed file is|not JSON: it ends too early)"):
        read(tmp_path)


def test_a_packed_table_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"prompt,response\np,r\n"))
    assert read(tmp_path)[0].exchanges == (Exchange("p", "r"),)
    assert csv.field_size_limit() > 2**20


IDS: list[tuple[dict[str, Any], str]] = [
    ({"id": 7}, "7"),
    ({"id": "org/set/7"}, "org%2Fset%2F7"),
    ({"id": " a\nb "}, "a%0Ab"),
    ({"id": ".."}, "%2E%2E"),
    ({"_id": {"$oid": "65f"}}, "65f"),
    ({"threadId": "t9"}, "t9"),
    ({"id": None, "uuid": "u"}, "u"),
    ({"id": "\u202ex"}, "%E2%80%AEx"),
]


@pytest.mark.parametrize(("given", "expected"), IDS)
def test_an_id_of_any_kind_is_kept_or_mended(tmp_path: Path, given: dict[str, Any], expected: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({**given, "prompt": "p", "response": "r"}))
    assert [t.id for t in read(tmp_path)] == [expected]


def test_without_an_id_the_content_says_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "response": "r"},
        {"prompt": "p", "response": "s"},
        {"prompt": "p", "response": "r", "n": 1},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_transcripts(tmp_path)
    assert {t.id for t in found.transcripts} == {f"t-{t.sha256[:16]}" for t in found.transcripts}
    assert found.repairs == {"ids_made": 2, "duplicates_merged": 1}


def test_of_500_mixed_logs_all_but_the_hopeless_are_used_and_every_repair_is_counted(tmp_path: Path) -> None:
    logs = write_mixed_logs(tmp_path / "logs", 500)
    found = read_transcripts(tmp_path / "logs", max_bad=25, tools="drop")
    assert len(found.transcripts) == logs.conversations - logs.unusable >= 0.95 * logs.conversations
    assert len(found.rejected) == logs.unusable > 10
    assert {r.kind for r in found.rejected} == {"blank", "image"}
    assert {kind: n for kind, n in found.repairs.items() if kind not in ("turns_joined", "parts_joined")} == {
        kind: n for kind, n in logs.repairs.items() if kind not in ("turns_joined", "parts_joined")
    }
    assert found.repairs["turns_joined"] >= logs.repairs["turns_joined"]
    assert found.repairs["parts_joined"] == logs.repairs["parts_joined"]
    assert all(r.file and r.line for r in found.rejected)
    assert all(r.file and r.line for r in found.repaired)
    assert not any("GIVEN UP" in text for t in found.transcripts for e in t.exchanges for text in e)


@pytest.mark.parametrize("key", ["messages", "conversations", "results"])
@pytest.mark.parametrize(
    "times", [[4, 3, 3, 1], ["2024-05-01T10:03:00Z", "2024-05-01T10:02:00Z", "2024-05-01T10:01:59.5Z", "2024-05-01"]]
)
def test_a_list_in_which_the_newest_message_stands_first_is_turned_round(
    tmp_path: Path, key: str, times: list[object]
) -> None:
    said = [("agent", "Then call us"), ("customer", "No"), ("agent", "Did it help?"), ("customer", "It broke")]
    listed = [{"sender": who, "text": text, "createdAt": at} for (who, text), at in zip(said, times, strict=True)]
    (tmp_path / "a.json").write_text(json.dumps({"id": "t", key: listed}, indent=1))
    expected = (Exchange("It broke", "Did it help?"), Exchange("No", "Then call us"))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == expected
    listed[0]["text"] = " "
    (tmp_path / "a.json").write_text(json.dumps({"id": "t", key: listed}, indent=1))
    with pytest.raises(UserError, match=rf"a.json:6: {key}\[3\].text: is empty"):
        read_transcripts(tmp_path)


ONE, OTHER = ([{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in ("pr", "qs"))


@pytest.mark.parametrize("value", [{"c1": ONE, "c2": OTHER}, {"c1": {"messages": ONE}, "c2": {"messages": OTHER}}])
def test_an_object_may_hold_conversations_by_their_names(tmp_path: Path, value: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value, indent=1))
    assert read(tmp_path) == [Transcript("c1", (Exchange("p", "r"),)), Transcript("c2", (Exchange("q", "s"),))]
    value["c2"] = [{"role": "user", "content": "q"}, {"role": "assistant", "content": 7}]
    (tmp_path / "a.json").write_text(json.dumps(value, indent=1))
    with pytest.raises(UserError, match=r"a\.json:\d+: messages\[1\]\.content: must be a string"):
        read(tmp_path)


@pytest.mark.parametrize("keys", [("chosen", "rejected"), ("conversation_a", "conversation_b")])
def test_two_answers_are_no_conversations_by_name(tmp_path: Path, keys: tuple[str, str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(dict(zip(keys, (ONE, OTHER), strict=True))))
    with pytest.raises(UserError, match="a preference pair"):
        read(tmp_path)


USED: dict[str, list[dict[str, Any]]] = {
    "Vercel's AI SDK": [
        {"role": "user", "parts": [{"type": "text", "text": "p"}]},
        {"role": "assistant", "parts": [
            {"type": "step-start"}, {"type": "text", "text": "I look."},
            {"type": "tool-find", "toolCallId": "1", "state": "output-available", "input": {"n": 7}, "output": "x"},
            {"type": "source-url", "sourceId": "s", "url": "https://example.org"}]},
        {"role": "assistant", "parts": [{"type": "text", "text": "r"}]},
    ],
    "Vercel's AI SDK 4": [
        {"role": "user", "parts": [{"type": "text", "text": "p"}]},
        {"role": "assistant", "parts": [
            {"type": "text", "text": "I look."},
            {"type": "tool-invocation", "toolInvocation": {"toolName": "find", "args": {"n": 7}, "result": "x"}}]},
        {"role": "assistant", "parts": [{"type": "text", "text": "r"}]},
    ],
    "Vapi": [
        {"role": "user", "message": "p"},
        {"role": "bot", "message": "I look."},
        {"role": "tool_calls", "message": "", "toolCalls": [{"function": {"name": "find", "arguments": {"n": 7}}}]},
        {"role": "tool_call_result", "name": "find", "result": "x"},
        {"role": "bot", "message": "r"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("program", USED)
def test_tools_that_were_used_are_dropped_or_kept_whoever_wrote_them_down(tmp_path: Path, program: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"id": "a", "messages": USED[program]}))
    dropped = read_transcripts(tmp_path, tools="drop").transcripts[0]
    assert dropped.exchanges == (Exchange("p", "I look.\n\nr"),)
    kept = read_transcripts(tmp_path, tools="keep").transcripts[0].exchanges
    assert '{"name": "find", "arguments": {"n": 7}}' in kept[0].assistant
    assert kept[-1].user == "<tool_response>\nx\n</tool_response>"
    assert kept[-1].assistant == "r"


def test_a_system_prompt_beside_what_holds_the_messages_is_read(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
    for own, expected in ((said, "Be brief."), ([{"role": "system", "content": "Own."}, *said], "Own.")):
        (tmp_path / "a.json").write_text(json.dumps({"system": "Be brief.", "conversation": {"messages": own}}))
        assert read(tmp_path)[0].system == expected
