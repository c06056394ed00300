from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kit.exports import AS_TEXTS, ATTRIBUTES, INTERCOM, NUMBERED, ZENDESK
from kit.programs import PROGRAMS
from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError


def read(folder: Path, value: object) -> list[tuple[str, str | None, tuple[Exchange, ...]]]:
    (folder / "export.json").write_text(json.dumps(value))
    return [(t.id, t.system, t.exchanges) for t in read_transcripts(folder).transcripts]


@pytest.mark.parametrize("held", [False, True])
def test_intercoms_authors_say_who_speaks_and_notes_are_left_out(tmp_path: Path, held: bool) -> None:
    value = {"type": "conversation.list", "conversations": [INTERCOM]} if held else INTERCOM
    asked = Exchange("My lamp flickers & hums\nWhy?", "Which bulb?")
    assert read(tmp_path, value) == [("123", None, (asked, Exchange("The old one", "Change it\nTell us")))]


def test_a_conversation_of_intercoms_first_interface_keeps_its_first_message(tmp_path: Path) -> None:
    older = {"conversation_message" if key == "source" else key: value for key, value in INTERCOM.items()}
    assert read(tmp_path, older) == read(tmp_path, INTERCOM)


@pytest.mark.parametrize("held", [False, True])
def test_a_tickets_requester_is_its_user_and_notes_are_left_out(tmp_path: Path, held: bool) -> None:
    assert read(tmp_path, {"tickets": [ZENDESK, ZENDESK | {"id": 36}]} if held else ZENDESK)[0] == (
        "35", None, (Exchange("It broke", "Restart it"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    "attributes",
    [ATTRIBUTES, AS_TEXTS, [{"key": k, "value": {"stringValue": v}} for k, v in AS_TEXTS.items()]],
)
def test_a_span_holds_a_calls_messages_in_any_form_and_is_known_by_its_own_id(tmp_path: Path, attributes: Any) -> None:
    spans = [{"traceId": "t", "spanId": span, "name": "chat", "attributes": attributes} for span in ("a", "b")]
    assert read(tmp_path, spans) == [(name, None, (Exchange("Hi", "Hello"),)) for name in ("a", "b")]


def test_numbered_attributes_of_a_span_are_put_in_order(tmp_path: Path) -> None:
    assert read(tmp_path, {"spanId": "s", "attributes": dict(reversed(NUMBERED.items()))}) == [
        ("s", "Be short", (Exchange("Hi", "Hello"),))
    ]


def trace(*calls: tuple[list[dict[str, str]], str]) -> dict[str, Any]:
    """What MLflow's `Trace.to_json` writes of a request to a program and the calls of a model that it made."""
    said: list[tuple[str, object, object]] = [("CHAIN", {"question": "Hm"}, {"answer": "Well"})]
    for asked, answer in calls:
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        said.append(
            ("CHAT_MODEL", {"messages": asked, "model": "m"}, {"object": "chat.completion", "choices": [choice]})
        )
    spans: list[dict[str, Any]] = [
        {
            "span_id": str(n), "name": kind, "start_time_unix_nano": 10**18 - n, "parent_span_id": None, "events": [],
            "attributes": {
                "mlflow.spanType": json.dumps(kind), "mlflow.spanInputs": json.dumps(inputs),
                "mlflow.spanOutputs": json.dumps(outputs),
            },
        }
        for n, (kind, inputs, outputs) in enumerate(said)
    ]  # fmt: skip
    return {"info": {"trace_id": "tr-1", "state": "OK", "request_preview": "Hm"}, "data": {"spans": spans}}


SHORT = {"role": "system", "content": "Be short"}
BEGUN = [SHORT, {"role": "user", "content": "Hi"}]
LATER = [*BEGUN, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}]


@pytest.mark.parametrize("form", ["trace", "list", "row", "row with the trace"])
def test_a_trace_of_mlflow_is_what_its_last_call_of_a_model_was_sent_and_answered(tmp_path: Path, form: str) -> None:
    whole = trace((LATER, "See you"), (BEGUN, "Hello"))  # spans in no order: times say which is later
    row = {"trace_id": "tr-1", "request": '{"question": "Hm"}', "response": '{"answer": "Well"}'}
    values = {
        "trace": whole, "list": [whole], "row": [row | {"spans": whole["data"]["spans"]}],
        "row with the trace": [row | {"trace": json.dumps(whole)}],
    }  # fmt: skip
    [(_, system, exchanges)] = read(tmp_path, values[form])
    assert (system, exchanges) == ("Be short", (Exchange("Hi", "Hello"), Exchange("Bye", "See you")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (trace(), "a trace of MLflow without a span of a model"),
        (trace((BEGUN, "Hello"), ([SHORT, {"role": "user", "content": "Sum it up"}], "Fine")), "with 2 calls of a mod"),
        ({name: value for name, value in ZENDESK.items() if name != "requester_id"}, "no `requester_id`"),
        ({"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}, "one span a line"),
        ({"object": "list", "data": [{"object": "chat.completion", "choices": []}]}, "without what it was asked"),
        ({"message_tree_id": "t", "prompt": {"text": "Why?", "role": "prompter", "replies": []}}, "several answers"),
        (INTERCOM | {"source": INTERCOM["source"] | {"author": {"type": "robot"}}}, "must say who speaks"),
        ({"conversation_parts": [3, None, {"body": 4, "author": 5}]}, "role: is missing"),
        ({"attributes": {"gen_ai.input.messages": 4}}, "cannot be used"),
    ],
)
def test_what_does_not_say_who_speaks_is_refused_with_the_way_out(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, value)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_chat_programs_help_desks_and_tracers_export_is_read(tmp_path: Path, program: str) -> None:
    [(_, _, exchanges)] = read(tmp_path, PROGRAMS[program])
    assert exchanges == (Exchange("p", "r"),)


@pytest.mark.parametrize("about", ["user", "users", "memories", "shared_conversations", "message_feedback"])
def test_what_stands_beside_the_conversations_of_an_account_is_not_read(tmp_path: Path, about: str) -> None:
    (tmp_path / f"{about}.json").write_text(json.dumps([{"id": "user-1", "email": "a@example.org"}]))
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "conversations.json").write_text(json.dumps([INTERCOM]))
    assert [t.id for t in read_transcripts(tmp_path).transcripts] == ["123"]
    (tmp_path / "conversations.json").rename(tmp_path / "mine.json")
    with pytest.raises(UserError, match=f"{about}.json:1: holds no conversation"):
        read_transcripts(tmp_path)
