"""A refined prompt keeps its slots, and learns no talk by heart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tuneline_calibrator.models.answers import read_answer
from tuneline_calibrator.models.evidence import Refined
from tuneline_calibrator.models.refine import grams, problem_of, with_slots

BEFORE = "Write a talk.\n{source}\n{profile}"
TALK = "For a hundred years builders believed that weight was enough to hold a bridge."
CHINESE = "一百年来建筑师一直相信只要重量足够就能让桥稳定"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Write.\n{source}", "{profile} stands there 0 times"),
        ("{source} {source} {profile}", "{source} stands there 2 times"),
        ("{ source } {profile}", "{source} stands there 0 times"),
        ("x" * 6001 + "{source}{profile}", "characters"),
        ("Write a talk. {source}  {profile}\n", "as it was"),
        ("Clear.\x1b[2J {source} {profile}", "control characters"),
        (f"Say: {TALK} {{source}} {{profile}}", "8 words in a row"),
        ("for-a-HUNDRED_years builders; believed **that** we\u200bight was. {source} {profile}", "8 words in a row"),
        (f"说：{CHINESE}。{{source}} {{profile}}", "8 words in a row"),
        ("", "{source} stands there 0 times"),
    ],
)
def test_a_prompt_that_breaks_a_rule_is_told_which(prompt: str, said: str) -> None:
    assert said in problem_of(prompt, BEFORE, [grams(TALK), grams(CHINESE)])


@pytest.mark.parametrize(
    "prompt",
    [
        "Write about 900 words.\n{source}\n{profile}",
        "For a hundred years builders believed that. {source} {profile}",
        "写一篇九百字的演讲。{source} {profile}",
        "{{source}} {profile} and a {brace",
    ],
)
def test_a_prompt_that_keeps_to_the_rules_is_taken(prompt: str) -> None:
    assert problem_of(prompt, BEFORE, [grams(TALK), grams(CHINESE), grams("")]) == ""


def test_what_stood_in_the_first_prompt_is_nothing_learnt() -> None:
    before = f"{TALK} {{source}} {{profile}}"
    assert problem_of(f"Be brief. {before}", before, [grams(TALK)]) == ""


def test_slots_that_a_writer_forgot_come_back_with_the_lines_that_they_stood_in() -> None:
    assert with_slots("Be brief.", BEFORE) == "Be brief.\n\n{source}\n\n{profile}"
    assert with_slots("Be brief. {profile}", "Talk about: {source}\nlike {profile}") == (
        "Be brief. {profile}\n\nTalk about: {source}"
    )
    assert with_slots("Brief.", "Of {source}, like {profile}") == "Brief.\n\nOf {source}, like {profile}"
    assert with_slots("{source} {profile}", BEFORE) == "{source} {profile}"


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        (["shorter"], [("", "shorter")]), ("shorter", [("", "shorter")]), ([{"change": "c", "why": 1}], [("", "c")]),
        ({"loss": "duration", "change": "c" * 2000}, [("duration", "c" * 1000)]),
        (None, []), ([], []), (["shorter", 3], []), ([{"loss": "rouge"}], []),
    ],
)  # fmt: skip
def test_an_edit_counts_whatever_is_said_about_it(changes: Any, read: list[tuple[str, str]]) -> None:
    text = f"Here it is:\n```json\n{json.dumps({'changes': changes, 'prompt': ['{{source}}', '{ profile }']})}\n```"
    found = read_answer(text, Refined)
    assert [(one.loss, one.change) for one in found.changes] == read
    assert found.prompt == "{source}\n{profile}"
    assert read_answer('{"prompt": "p"}', Refined).changes == []
