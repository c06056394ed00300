"""What nobody saw of an answer is no part of it, though it stands in its text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneline.data.reading.repairs import Tools
from tuneline.data.transcripts import Exchange, ReadTranscripts, read_transcripts
from tuneline.errors import UserError

FOLDED = '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n&gt; hm\n</details>\n'
CALLED = (
    '<details type="tool_calls" done="true" id="c" name="find" arguments="{&quot;n&quot;: 7}" result="on its way">\n'
    "<summary>Tool Executed</summary>\n</details>\n"
)


def read(folder: Path, *answers: str, tools: Tools = "refuse", asked: str = "Where is it?") -> ReadTranscripts:
    said = [{"role": "user", "content": asked}, *({"role": "assistant", "content": answer} for answer in answers)]
    (folder / "a.json").write_text(json.dumps([{"id": "a", "messages": said}]))
    return read_transcripts(folder, tools=tools)


@pytest.mark.parametrize(
    "answer",
    [
        "<think>\nhm\n</think>\n\nHere.",
        "<thinking>a <b> c</thinking>Here.",
        "hm, so\n</think>\n\nHere.",
        FOLDED + "Here.",
    ],
)
def test_a_thought_before_an_answer_is_left_out_and_counted(tmp_path: Path, answer: str) -> None:
    found = read(tmp_path, answer)
    assert found.transcripts[0].exchanges == (Exchange("Where is it?", "Here."),)
    assert found.repairs == {"thoughts_left_out": 1}


@pytest.mark.parametrize(
    "answer",
    ["Write <think> and </think>\naround it.", "The tag </think> ends it.", "<b>Here.</b>", "<think>never ended",
     "<details>\n<summary>More</summary>\nHere.\n</details>"],
)  # fmt: skip
def test_an_answer_that_speaks_of_such_marks_is_learnt_as_it_is(tmp_path: Path, answer: str) -> None:
    found = read(tmp_path, answer)
    assert found.transcripts[0].exchanges[0].assistant == answer
    assert not found.repairs


def test_what_a_user_says_is_no_thought(tmp_path: Path) -> None:
    asked = "<think>hm</think>\nWhere?"
    assert read(tmp_path, "Here.", asked=asked).transcripts[0].exchanges[0].user == asked


def test_a_thought_without_an_answer_is_no_answer(tmp_path: Path) -> None:
    assert read(tmp_path, "<think>hm</think>", "Here.").transcripts[0].exchanges[0].assistant == "Here."


def test_a_tool_that_was_called_in_an_answer_is_dropped_kept_or_refused(tmp_path: Path) -> None:
    answer = f"I look.\n{CALLED}Here."
    with pytest.raises(UserError, match="choose what becomes of it with `tools`"):
        read(tmp_path, answer)
    assert read(tmp_path, answer, tools="drop").transcripts[0].exchanges == (
        Exchange("Where is it?", "I look.\n\nHere."),
    )
    call, result = '<tool_call>\n{"name": "find", "arguments": {"n": 7}}\n</tool_call>', "on its way"
    assert read(tmp_path, answer, tools="keep").transcripts[0].exchanges == (
        Exchange("Where is it?", f"I look.\n{call}"),
        Exchange(f"<tool_response>\n{result}\n</tool_response>", "Here."),
    )


def test_calls_and_results_that_are_written_down_in_texts_are_dropped_too(tmp_path: Path) -> None:
    said = [
        ("human", "Where is it?"), ("gpt", 'I look.\n<tool_call>\n{"name": "find"}\n</tool_call>'),
        ("tool", "<tool_response>\non its way\n</tool_response>"), ("gpt", "Here."),
        ("human", "<tool_response>\nlate\n</tool_response>"), ("gpt", "And late."),
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([{"conversations": [{"from": a, "value": b} for a, b in said]}]))
    [found] = read_transcripts(tmp_path, tools="drop").transcripts
    assert found.exchanges == (Exchange("Where is it?", "I look.\n\nHere.\n\nAnd late."),)


def test_what_gpt_oss_thinks_in_a_message_of_its_own_is_left_out(tmp_path: Path) -> None:
    said = [("user", "", "p"), ("assistant", "analysis", "hm"), ("assistant", "final", "r")]
    messages = [{"role": role, "channel": channel, "content": text} for role, channel, text in said]
    (tmp_path / "a.json").write_text(json.dumps([{"messages": messages}]))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("p", "r"),)
