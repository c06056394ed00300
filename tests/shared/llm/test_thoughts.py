from __future__ import annotations

import pytest

from tuneline.llm.thoughts import plain_answer, storable


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("half \ud83d a pair", "half ? a pair"),
        ("a\0b", "a?b"),
        ("\x1b[1mé\u2028", "\x1b[1mé\u2028"),
    ],
)
def test_what_no_file_holds_and_no_reader_takes_becomes_a_question_mark(said: str, kept: str) -> None:
    assert storable(said) == kept
    assert storable(said).encode()


def test_an_answer_is_what_stands_behind_the_thoughts() -> None:
    assert plain_answer("<think>perhaps\0</think> So be it.\0 ") == "So be it.?"
