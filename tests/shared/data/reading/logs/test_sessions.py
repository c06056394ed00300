"""Sessions of coding agents: what the two sides said, and nothing that a program said for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.reading.repairs import Tools
from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

FIRST, SECOND = Exchange("Mend it", "I look.\n\nMended."), Exchange("Thanks", "Good.")
Line = dict[str, Any]


def claude(name: str, parent: str | None, role: str, content: Any, **more: Any) -> Line:
    message = {"role": role, "content": content}
    about = {"sessionId": "s", "isSidechain": False, "userType": "external", "type": role, "cwd": "/p"}
    return {**about, "uuid": name, "parentUuid": parent, "message": message, **more}


def text(words: str) -> list[Line]:
    return [{"type": "text", "text": words}]


CALL: list[Line] = [{"type": "tool_use", "id": "t", "name": "Read", "input": {"n": 7}}]
RESULT: list[Line] = [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]
CLAUDE: list[Line] = [
    {"type": "summary", "summary": "Mended", "leafUuid": "7"},
    {"type": "permission-mode", "permissionMode": "default", "sessionId": "s"},
    {"type": "file-history-snapshot", "messageId": "1", "snapshot": {}},
    claude("0", None, "user", "Caveat: made by a program", isMeta=True),
    claude("00", "0", "user", "<command-name>/clear</command-name>"),
    claude("1", "00", "user", "Mend it\n<system-reminder>\nBe good\n</system-reminder>"),
    claude("2", "1", "assistant", [{"type": "thinking", "thinking": "hm"}]),
    claude("3", "2", "assistant", text("I look.")),
    claude("4", "3", "assistant", CALL),
    claude("5", "4", "user", RESULT),
    claude("a", "5", "user", "Asked by an agent", isSidechain=True),
    claude("b", "a", "assistant", text("Answered to an agent"), isSidechain=True),
    claude("6", "5", "assistant", text("Mended.")),
    {"type": "system", "subtype": "turn_duration", "sessionId": "s", "uuid": "c", "parentUuid": "6"},
    claude("d", "6", "assistant", text("API Error: 500"), isApiErrorMessage=True),
    claude("e", "6", "user", "[Request interrupted by user]"),
    {"type": "queue-operation", "operation": "enqueue", "content": "Thanks", "sessionId": "s"},
    {"type": "attachment", "sessionId": "s", "uuid": "7", "parentUuid": "6", "isSidechain": False,
     "attachment": {"type": "queued_command", "prompt": "Thanks"}},
    claude("8", "7", "assistant", text("Good.")),
]  # fmt: skip


def codex(kind: str, **payload: Any) -> Line:
    return {"timestamp": "2025-10-01T10:00:00.000Z", "type": kind, "payload": payload}


def item(role: str, *texts: str) -> Line:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": one} for one in texts]}


ITEMS: list[Line] = [
    item("developer", "<permissions instructions>"),
    item("user", "<environment_context>\n<cwd>/p</cwd></environment_context>"),
    item("user", "# AGENTS.md instructions for /p", "Mend it"),
    {"type": "reasoning", "summary": [], "encrypted_content": "x"},
    item("assistant", "I look."),
    {"type": "function_call", "name": "shell", "arguments": '{"n": 7}', "call_id": "c"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {"type": "ghost_snapshot", "ghost_commit": {}},
    item("assistant", "Mended."),
    item("user", "Thanks"),
    item("assistant", "Good."),
]
CODEX = [
    codex("session_meta", id="s", cwd="/p", instructions="Be good"),
    *(codex("response_item", **one) for one in ITEMS[:3]),
    codex("event_msg", type="user_message", message="Mend it"),
    codex("turn_context", cwd="/p", model="m"),
    *(codex("response_item", **one) for one in ITEMS[3:]),
    codex("event_msg", type="agent_message", message="Good."),
]
OLDER: list[Line] = [{"id": "s", "timestamp": "2025-08-01T10:00:00.000Z", "instructions": None, "git": {}}]
OLDER += [line for one in ITEMS for line in ({"record_type": "state"}, one)]
GEMINI: dict[str, Any] = {
    "sessionId": "s",
    "projectHash": "h",
    "messages": [
        {"id": "1", "type": "user", "content": "Mend it"},
        {"id": "2", "type": "gemini", "content": "I look.", "thoughts": [], "toolCalls": [{"name": "ls", "args": {}}]},
        {"id": "3", "type": "info", "content": "Request cancelled."},
        {"id": "4", "type": "gemini", "content": "Mended.", "model": "m"},
        {"id": "5", "type": "user", "content": "Thanks"},
        {"id": "6", "type": "gemini", "content": "Good."},
    ],
}
SESSIONS = {"Claude Code": CLAUDE, "Codex": CODEX, "Codex, of before": OLDER, "Gemini CLI": [GEMINI]}


def read(folder: Path, lines: list[Line], tools: Tools = "drop") -> ReadTranscripts:
    (folder / "session.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_transcripts(folder, tools=tools)


@pytest.mark.parametrize("program", SESSIONS)
def test_a_session_is_what_its_two_sides_said(tmp_path: Path, program: str) -> None:
    [found] = read(tmp_path, SESSIONS[program]).transcripts
    assert (found.id, found.system, found.exchanges) == ("s", None, (FIRST, SECOND))


@pytest.mark.parametrize("program", ["Claude Code", "Codex", "Codex, of before"])
def test_tools_of_a_session_are_kept_or_refused_at_their_line(tmp_path: Path, program: str) -> None:
    lines = SESSIONS[program]
    kept = read(tmp_path, lines, "keep").transcripts[0].exchanges
    assert "<tool_call>" in kept[0].assistant
    assert kept[1] == Exchange("<tool_response>\nx\n</tool_response>", "Mended.")
    number = next(
        place for place, line in enumerate(lines, 1) if "tool_use" in json.dumps(line) or "shell" in str(line)
    )
    with pytest.raises(UserError, match=rf"session\.jsonl:{number}: .*the assistant's use of a tool"):
        read(tmp_path, lines, "refuse")


def test_of_a_message_that_was_taken_back_nothing_is_read_and_parallel_calls_are_no_branch(tmp_path: Path) -> None:
    lines = [
        claude("1", None, "user", "p"),
        claude("2", "1", "assistant", text("r")),
        claude("3", "2", "user", "TAKEN BACK"),
        claude("4", "3", "assistant", text("GIVEN UP")),
        claude("5", "2", "user", "q"),
        claude("6", "5", "assistant", CALL),
        claude("7", "6", "assistant", [{**CALL[0], "id": "u"}]),
        claude("8", "6", "user", RESULT),
        claude("9", "7", "user", RESULT),
        claude("10", "9", "assistant", text("s")),
    ]
    kept = read(tmp_path, lines, "keep").transcripts[0].exchanges
    assert [kept[0], kept[-1].assistant] == [Exchange("p", "r"), "s"]
    assert "TAKEN BACK" not in str(kept)
    assert kept[-1].user.count("<tool_response>") == 2


def test_a_talk_that_was_put_together_anew_keeps_what_was_said_before(tmp_path: Path) -> None:
    anew = claude("4", None, "user", "q", logicalParentUuid="2")
    lines = [claude("1", None, "user", "p"), claude("2", "1", "assistant", text("r")), anew]
    [found] = read(tmp_path, [*lines, claude("5", "4", "assistant", text("s"))]).transcripts
    assert found.exchanges == (Exchange("p", "r"), Exchange("q", "s"))


def test_logs_of_ones_own_that_name_sessions_are_no_agents(tmp_path: Path) -> None:
    said = [("user", "<bash-input>p"), ("assistant", "r")]
    rows = [{"sessionId": "s", "type": by, "uuid": words, "text": words} for by, words in said]
    assert read(tmp_path, rows).transcripts[0].exchanges == (Exchange("<bash-input>p", "r"),)
