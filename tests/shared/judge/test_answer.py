from __future__ import annotations

import json
from typing import Any

import pytest

from kit.judge_parts import CANARY, SHORT_RUBRIC
from tuneline.errors import Unreadable
from tuneline.judge.answer import MAX_CHARS, read_answers

GOOD: dict[str, Any] = {
    "POLITE": {"reason": "It says please.", "answer": "YES"},
    "ASKS": {"reason": "Nothing to ask.", "answer": "NA"},
    "SAFE": {"reason": "Yes.", "answer": "NO"},
}
TEXT = json.dumps(GOOD, indent=1)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\n  {TEXT}\n",
        f"\ufeff{TEXT}",
        f"```json\n{TEXT}\n```",
        f"Here is my judgement:\n```\n{TEXT}\n```\nI hope it helps {{}}.",
        f"Let me think. The assistant is polite.\n\n{TEXT}\n\nThat is all.",
    ],
)
def test_answers_are_found_whatever_stands_around_them(text: str) -> None:
    assert read_answers(text, SHORT_RUBRIC).answers == {"POLITE": "YES", "ASKS": "NA", "SAFE": "NO"}
    assert read_answers(text, SHORT_RUBRIC).reasons["POLITE"] == "It says please."


def changed(**rows: Any) -> str:
    return json.dumps({**GOOD, **rows})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("I would rather not.", "not JSON"),
        ("<html><body>502</body></html>", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        (TEXT[:-30], "not JSON"),
        (TEXT + TEXT, "not JSON"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "SAFE"}), "SAFE is missing"),
        (changed(SAFE=None), "SAFE is missing"),
        (changed(SAFE="YES"), "SAFE is not an object"),
        (changed(SAFE={"answer": "YES"}), "SAFE must have exactly the keys"),
        (changed(SAFE={"reason": "r", "answer": "YES", "score": 1}), "SAFE must have exactly the keys"),
        (changed(SAFE={"reason": "r", "answer": "yes"}), "SAFE: the answer is not YES or NO"),
        (changed(SAFE={"reason": "r", "answer": "NA"}), "SAFE: the answer is not YES or NO"),
        (changed(ASKS={"reason": "r", "answer": "MAYBE"}), "ASKS: the answer is not YES or NO or NA"),
        (changed(SAFE={"reason": "r", "answer": True}), "SAFE: the answer is not"),
        (changed(SAFE={"reason": ["r"], "answer": "YES"}), "SAFE: the reason is not text"),
        (changed(TOTAL={"reason": "r", "answer": "YES"}), "1 keys are no criteria"),
        (changed(SAFE={"reason": "r", "answer": float("nan")}), "NaN is not a number"),
        (TEXT[:-2] + ', "SAFE": {"reason": "r", "answer": "YES"}}', "stands twice"),
        ('{"a":' * 20_000, "nested|not JSON"),
        ("{" * 500_000, "not JSON"),
        ("x" * 5_000_000, f"longer than {MAX_CHARS:,} characters"),
    ],
)
def test_what_is_not_exactly_one_answer_per_criterion_is_unreadable(text: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem.replace("(", "\\(")):
        read_answers(text, SHORT_RUBRIC)


def test_a_problem_never_quotes_the_answer() -> None:
    for text in (
        CANARY,
        changed(**{CANARY: 1}),
        changed(SAFE={"reason": CANARY, "answer": CANARY}),
        f'{{"{CANARY}": NaN}}',
    ):
        with pytest.raises(Unreadable) as unreadable:
            read_answers(text, SHORT_RUBRIC)
        assert CANARY not in str(unreadable.value)


def test_half_a_surrogate_pair_in_a_reason_can_be_stored() -> None:
    text = changed(SAFE={"reason": "\ud83d", "answer": "YES"})
    assert read_answers(text, SHORT_RUBRIC).reasons["SAFE"].encode() == b"?"
