"""Logs of calls to models: sessions, requests that repeat what was said before, and answers that were streamed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

SAID = ["The lamp hums", "Since when?", "Today", "Change the bulb", "Thanks", "You are welcome"]
TALK = [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(SAID)]
CALLS: list[tuple[Any, Any]] = [
    ({"model": "m", "messages": TALK[: at - 1]}, {"object": "chat.completion", "choices": [{"message": TALK[at - 1]}]})
    for at in (2, 4, 6)
]
WHOLE = tuple(Exchange(SAID[at], SAID[at + 1]) for at in (0, 2, 4))


def read(folder: Path, rows: list[dict[str, Any]]) -> ReadTranscripts:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_transcripts(folder)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("key", ["id", "session_id", "request_id"])
def test_of_the_calls_of_one_conversation_the_last_one_stands_for_all(
    tmp_path: Path, order: list[int], key: str
) -> None:
    name = "s" if key == "session_id" else "call-{}"
    rows = [{key: name.format(at), "request": CALLS[at][0], "response": CALLS[at][1]} for at in order]
    found = read(tmp_path, rows)
    assert [(t.id, t.exchanges) for t in found.transcripts] == [(name.format(2), WHOLE)]
    assert found.repairs == {"calls_joined": 2}


def test_calls_of_other_conversations_stay_and_so_do_equal_ones(tmp_path: Path) -> None:
    asked, said = CALLS[0]
    briefly = {"messages": [{"role": "system", "content": "Be brief."}, *CALLS[1][0]["messages"]]}
    rows = [{"id": name, "request": one, "response": said} for name, one in (("a", asked), ("b", asked))]
    found = read(tmp_path, [*rows, {"id": "c", "request": briefly, "response": CALLS[1][1]}])
    assert [t.id for t in found.transcripts] == ["a", "b", "c"]
    assert not found.repairs


def test_conversations_that_begin_alike_and_are_no_calls_all_stay(tmp_path: Path) -> None:
    found = read(tmp_path, [{"id": "a", "messages": TALK[:2]}, {"id": "b", "messages": TALK}])
    assert [t.id for t in found.transcripts] == ["a", "b"]


def test_each_call_counts_where_its_id_is_asked_for(tmp_path: Path) -> None:
    rows = [{"id": f"ann/{at}", "request": one, "response": said} for at, (one, said) in enumerate(CALLS)]
    read(tmp_path, rows)
    assert len(read_transcripts(tmp_path, joined=False).transcripts) == 3


def test_calls_of_one_session_are_known_by_their_own_ids(tmp_path: Path) -> None:
    title = {"messages": [{"role": "user", "content": "Give this talk a title"}]}
    said = {"choices": [{"message": {"role": "assistant", "content": "A lamp"}}]}
    rows = [
        {"session_id": "s", "request_id": "r1", "request": CALLS[2][0], "response": CALLS[2][1]},
        {"session_id": "s", "request_id": "r2", "request": title, "response": said},
    ]
    assert [t.id for t in read(tmp_path, rows).transcripts] == ["r1", "r2"]


def test_a_table_with_requests_as_json_is_read_as_calls_though_it_names_sessions(tmp_path: Path) -> None:
    with (tmp_path / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "inputs", "outputs", "session_id"])
        writer.writerows([f"r{at}", *map(json.dumps, call), "project"] for at, call in enumerate(CALLS))
    [found] = read_transcripts(tmp_path).transcripts
    assert (found.id, found.exchanges) == ("r2", WHOLE)


@pytest.mark.parametrize("text", ['{"text": "Rome", "population": 3}', '{"answer": "Rome"}', "[1, 2]"])
def test_an_answer_that_is_json_itself_is_learnt_as_it_was_given(tmp_path: Path, text: str) -> None:
    asked = {"messages": TALK[:1]}
    rows: list[dict[str, Any]] = [{"id": "a", "request": asked, "response": text}]
    rows += [{"id": "b", "messages": TALK[:1], "response": text}]
    assert [t.exchanges for t in read(tmp_path, rows).transcripts] == [(Exchange(SAID[0], text),)] * 2


def test_what_a_table_keeps_as_json_is_unpacked_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text('id,inputs,outputs\na,"{""input"": ""p""}","{""output"": ""r""}"\n')
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("p", "r"),)


def chunks(*texts: str) -> list[dict[str, Any]]:
    return [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]


def events(values: list[dict[str, Any]]) -> str:
    lines = [f"event: x\ndata: {json.dumps(value)}\n" for value in values]
    return "\n".join([": comment", *lines, "data: [DONE]", ""]).removeprefix(": comment\n")


OPENAI = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}, *chunks("Sin", "ce?"),
          {"choices": [], "usage": {}}]  # fmt: skip
ANTHROPIC = [
    {"type": "message_start", "message": {"role": "assistant", "content": []}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Sin"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ce?"}},
    {"type": "message_stop"},
]
CONVERSE = [{"messageStart": {"role": "assistant"}}, {"contentBlockDelta": {"delta": {"text": "Since?"}}}]
RESPONSES = [{"type": "response.created"}, {"type": "response.output_text.delta", "delta": "Since?"}]
GEMINI = [{"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]} for text in ("Sin", "ce?")]
OLLAMA = [{"message": {"role": "assistant", "content": t}, "done": t == ""} for t in ("Sin", "ce?", "")]


@pytest.mark.parametrize("stream", [OPENAI, ANTHROPIC, CONVERSE, RESPONSES, GEMINI, OLLAMA])
@pytest.mark.parametrize("as_text", [False, True])
def test_an_answer_that_was_streamed_is_put_together(
    tmp_path: Path, stream: list[dict[str, Any]], as_text: bool
) -> None:
    response = events(stream) if as_text else stream
    [found] = read(tmp_path, [{"id": "a", "request": {"messages": TALK[:1]}, "response": response}]).transcripts
    assert found.exchanges == (Exchange(SAID[0], "Since?"),)


@pytest.mark.parametrize(
    "stream",
    [
        [*chunks("a"), {"choices": [{"index": 1, "delta": {"content": "b"}}]}],
        [{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}],
        [{"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}}],
    ],
)
def test_a_stream_that_calls_tools_or_has_two_answers_is_refused(tmp_path: Path, stream: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="a stream that calls tools or has several answers"):
        read(tmp_path, [{"id": "a", "request": {"messages": TALK[:1]}, "response": stream}])


def test_an_answer_that_only_begins_like_events_is_its_text(tmp_path: Path) -> None:
    text = "data: see below\nand more"
    [found] = read(tmp_path, [{"id": "a", "request": {"messages": TALK[:1]}, "response": text}]).transcripts
    assert found.exchanges[0].assistant == text


def test_an_answer_that_a_request_began_is_one_with_its_end(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "p"}, {"role": "assistant", "content": '{"a":'}]
    call = {
        "request": {"messages": asked},
        "response": {"role": "assistant", "content": [{"type": "text", "text": "1}"}]},
    }
    (tmp_path / "a.json").write_text(json.dumps(call))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("p", '{"a":1}'),)


CUT: list[dict[str, Any]] = [
    {"choices": [{"finish_reason": "length", "message": {"role": "assistant", "content": "half"}}]},
    {"role": "assistant", "content": [{"type": "text", "text": "half"}], "stop_reason": "max_tokens"},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "half"}]}, "finishReason": "MAX_TOKENS"}]},
    {"status": "incomplete", "output": [{"type": "message", "role": "assistant", "content": "half"}]},
    {"message": {"role": "assistant", "content": "half"}, "done_reason": "length", "done": True},
]


@pytest.mark.parametrize("response", CUT)
def test_an_answer_that_was_cut_at_the_limit_is_context_and_never_learnt(
    tmp_path: Path, response: dict[str, Any]
) -> None:
    call = {"request": {"messages": [{"role": "user", "content": "p"}]}, "response": response}
    for text, unlearnt in ((json.dumps(call), (0,)), (whole(json.dumps(call)), ())):
        (tmp_path / "a.json").write_text(text)
        [found] = read_transcripts(tmp_path).transcripts
        assert (found.exchanges, found.unlearnt) == ((Exchange("p", "half"),), unlearnt)


def whole(text: str) -> str:
    for cut, ended in (
        ('"length"', '"stop"'),
        ("max_tokens", "end_turn"),
        ("MAX_TOKENS", "STOP"),
        ("incomplete", "completed"),
    ):
        text = text.replace(cut, ended)
    return text


def test_what_stands_beside_a_question_is_asked_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"question": "Why?", "context": "It hums.", "answer": "r"}]))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("Why?\n\nIt hums.", "r"),)
