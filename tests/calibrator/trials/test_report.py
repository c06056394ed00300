"""Prompts are shown with what changed, and nothing of them is lost."""

from __future__ import annotations

import time

import pytest

from tuneline_calibrator.trials.report import worded


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "a b"),
        ("a  b\n\nc", "a b c"),
        ("same", "same"),
        ("so it is " * 6000, "Briefly. " + "so it is " * 5000),
    ],
)
def test_a_diff_holds_both_prompts_and_is_there_at_once(before: str, after: str) -> None:
    began = time.process_time()
    found = worded(before, after)
    assert "".join(one.text for one in found if one.how != "new") == before
    assert "".join(one.text for one in found if one.how != "gone") == after
    assert time.process_time() - began < 20, "seconds, where it took minutes"


def test_one_word_that_is_new_is_marked_alone() -> None:
    assert [(one.how, one.text) for one in worded("Write a talk.", "Write a long talk.")] == [
        ("same", "Write a "), ("new", "long "), ("same", "talk."),
    ]  # fmt: skip
