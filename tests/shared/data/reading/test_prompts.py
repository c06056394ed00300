from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneline.data.reading.prompts import read_prompts
from tuneline.errors import UserError


def lines(folder: Path, *rows: object, name: str = "prompts.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "text", "reference"),
    [
        ({"id": "a", "prompt": "Why?", "reference": "So."}, "Why?", "So."),
        ({"Prompt": "Why?"}, "Why?", None),
        ({"instruction": "Sum up.", "input": "A text.", "output": "Short."}, "Sum up.\n\nA text.", "Short."),
        ({"instruction": "Sum up.", "input": ""}, "Sum up.", None),
        ({"question": "Why?", "answer": "So."}, "Why?", "So."),
        ({"question_id": 81, "turns": ["Why?"], "reference": ["So."]}, "Why?", "So."),
        ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}, "Why?", "So."),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]}, "Why?", None),
        ({"conversations": [{"from": "human", "value": "Why?"}]}, "Why?", None),
        ({"prompt": [{"role": "user", "content": "Why?"}]}, "Why?", None),
        ("Why?", "Why?", None),
    ],
)
def test_a_prompt_is_read_in_each_form_that_test_sets_have(
    tmp_path: Path, row: object, text: str, reference: str | None
) -> None:
    [prompt] = read_prompts(lines(tmp_path, row)).prompts
    assert (prompt.prompt, prompt.reference) == (text, reference)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'id,question,category\n1,"Why, then?",c\n2,How?,c\n'),
        ("p.json", json.dumps([{"id": 1, "prompt": "Why, then?"}, {"id": 2, "prompt": "How?"}], indent=1)),
        ("p.json", json.dumps({"prompts": [{"id": 1, "prompt": "Why, then?"}, {"id": 2, "prompt": "How?"}]})),
    ],
)
def test_a_table_and_a_list_hold_prompts_too(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = read_prompts(tmp_path / name).prompts
    assert [(prompt.id, prompt.prompt) for prompt in found] == [("1", "Why, then?"), ("2", "How?")]


def test_a_prompt_without_an_id_has_one_that_follows_from_its_text(tmp_path: Path) -> None:
    [alone] = read_prompts(lines(tmp_path, {"prompt": "Why?"})).prompts
    first, second = read_prompts(lines(tmp_path, {"prompt": "How?"}, {"prompt": "Why?"})).prompts
    assert first.id != second.id == alone.id


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"id": "a", "prompt": " "}], "prompts.jsonl:1: prompt: must hold text"),
        ([{"id": "a"}], "prompts.jsonl:1: holds no prompt"),
        ([{}], "prompts.jsonl:1: holds no prompt"),
        ([3], "prompts.jsonl:1: must be an object (got a number)"),
        ([{"prompt": "a"}, {"turns": ["b", "c"]}], "prompts.jsonl:2: turns: has 2 turns of a user"),
        (
            [{"id": "a", "prompt": "b"}, {"id": "a", "prompt": "c"}],
            "prompts.jsonl:2: id: the same as in prompts.jsonl:1",
        ),
        ([{"prompt": "b"}, {"id": "a", "prompt": "b\n"}], "prompts.jsonl:2: prompt: the same as in prompts.jsonl:1"),
        ([{"prompt": "a\ud800"}], "prompts.jsonl:1: prompt: contains half of a surrogate pair"),
        (
            [{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}],
            "a system prompt; give",
        ),
    ],
)
def test_what_is_no_single_prompt_is_refused_with_its_line(tmp_path: Path, rows: list[Any], problem: str) -> None:
    with pytest.raises(UserError) as refused:
        read_prompts(lines(tmp_path, *rows))
    assert problem in str(refused.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompts.jsonl:1: an empty file"):
        read_prompts(lines(tmp_path))
