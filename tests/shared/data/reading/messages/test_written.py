"""Conversations that are one text: its marks say who speaks, or nobody does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError

TWICE = (Exchange("It hums.\nNote: since today", "Which one?"), Exchange("The red one", "Change it"))
FORMS = {
    "lines": "Customer: It hums.\nNote: since today\nAgent: Which one?\nCustomer: The red one\nAgent: Change it",
    "lines with times": "[10:01] Customer: It hums.\nNote: since today\n10:02 PM - Agent: Which one?\n"
    "(2 s) Customer (web): The red one\n10:03 Agent: Change it\n",
    "lines that begin in the next": "User:\nIt hums.\nNote: since today\n\nAssistant:\nWhich one?\n\nUser:\n"
    "The red one\n\nAssistant:\nChange it",
    "letters": "Q: It hums.\nNote: since today\nA: Which one?\nQ: The red one\nA: Change it",
    "headings": "### Human: It hums.\nNote: since today### Assistant: Which one?### Human: The red one"
    "### Assistant: Change it",
    "ChatML": "<|im_start|>user\nIt hums.\nNote: since today<|im_end|>\n<|im_start|>assistant\nWhich one?<|im_end|>\n"
    "<|im_start|>user\nThe red one<|im_end|>\n<|im_start|>assistant\nChange it",
    "Llama 2": "<s>[INST] It hums.\nNote: since today [/INST] Which one? </s>"
    "<s>[INST] The red one [/INST] Change it </s>",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nIt hums.\nNote: since today<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nWhich one?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "The red one<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nChange it<|eot_id|>",
    "Gemma": "<bos><start_of_turn>user\nIt hums.\nNote: since today<end_of_turn>\n<start_of_turn>model\nWhich one?"
    "<end_of_turn>\n<start_of_turn>user\nThe red one<end_of_turn>\n<start_of_turn>model\nChange it<end_of_turn>\n",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", ["text", "transcript", "messages", "Conversation"])
def test_a_text_is_cut_at_the_marks_of_both_sides_and_that_is_counted(tmp_path: Path, form: str, key: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"id": 1, key: FORMS[form]}]))
    found = read_transcripts(tmp_path)
    assert found.transcripts[0].exchanges == TWICE
    assert found.repairs["texts_split"] == 1


def test_a_column_of_a_table_may_hold_such_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'chat_id,transcript\n7,"{FORMS["lines"]}"\n8,"{FORMS["lines with times"]}"\n')
    assert [(t.id, t.exchanges) for t in read_transcripts(tmp_path).transcripts] == [("7", TWICE), ("8", TWICE)]


def test_times_before_all_marks_are_no_part_of_a_message(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": "[10:01] User: p\n[10:02] Bot: r"}))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("p", "r"),)


def test_a_system_prompt_in_such_a_text_is_one(tmp_path: Path) -> None:
    texts = ["[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\np [/INST] r</s>", "System: Be brief.\nUser: p\nAssistant: r"]
    for text in texts:
        (tmp_path / "a.json").write_text(json.dumps({"text": text}))
        [found] = read_transcripts(tmp_path).transcripts
        assert (found.system, found.exchanges) == ("Be brief.", (Exchange("p", "r"),))


def test_a_label_that_a_message_quotes_is_no_mark(tmp_path: Path) -> None:
    text = "User: My form says:\nQuestion: your name?\nClient: Ann\nBot: Write your name."
    (tmp_path / "a.json").write_text(json.dumps({"text": text}))
    [found] = read_transcripts(tmp_path).transcripts
    assert found.exchanges == (Exchange("My form says:\nQuestion: your name?\nClient: Ann", "Write your name."),)


@pytest.mark.parametrize(
    "text",
    ["Ann: p\nBert: r", "User: p Bot: r", "User: p\nUser: q", "It was said:\nUser: p\nBot: r", "Customer: p\nBert: r",
     "User:p\nBot:r", "", "https://example.org/x"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["text", "transcript"])
def test_a_text_that_does_not_mark_both_sides_is_refused(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({key: text}))
    with pytest.raises(UserError, match="holds no conversation"):
        read_transcripts(tmp_path)


def test_a_message_that_quotes_a_conversation_is_still_a_message(tmp_path: Path) -> None:
    rows = [{"chat_id": 1, "role": "user", "content": FORMS["lines"]}, {"chat_id": 1, "role": "bot", "content": "r"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange(FORMS["lines"], "r"),)


def test_a_prompt_beside_such_a_text_counts_before_it(tmp_path: Path) -> None:
    record = {"instruction": "p", "input": "", "output": "r", "text": FORMS["headings"]}
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert read_transcripts(tmp_path).transcripts[0].exchanges == (Exchange("p", "r"),)
