"""A refined prompt keeps its slots, and learns no talk by heart."""

from __future__ import annotations

import pytest

from tuneline_calibrator.models.refine import grams, problem_of

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
