"""Words are counted by one rule, in every script."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest

from tuneline.data.text.words import apart, compared, word_count, words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It's 3.5 m – really.", 4), ("a well-known 10,000", 3), ("either/or — this", 3), ("x", 1), ("", 0),
        ("— … !", 0), ("the end.The next", 4), ("at 10:30", 2), ("🙂 ok", 1), ("cafés à Paris", 3),
        ("Straße\u00adn", 1), ("桥在 wind 中", 4), ("สะพาน", 5), ("これはペン", 5), ("한국어 문장", 2),
        ("पुल हिलता है", 3), ("كِتَابٌ جَدِيدٌ", 2),
    ],
)  # fmt: skip
def test_a_word_is_counted_once_and_a_letter_of_a_script_without_spaces_is_one(text: str, count: int) -> None:
    assert word_count(text) == count
    assert word_count(unicodedata.normalize("NFD", text)) == count, "an accent may be a character of its own"


def test_a_book_is_counted_at_once() -> None:
    began = time.process_time()
    assert word_count("A café, and 桥。 " * 100_000) == 400_000
    assert time.process_time() - began < 20


def test_letters_of_a_script_without_spaces_are_words_when_they_stand_apart() -> None:
    assert words(apart("我们的bridge在")) == ["我", "们", "的", "bridge", "在"]
    assert apart("plain text") == "plain text"


def test_words_are_alike_whatever_stands_between_and_inside_them_unseen() -> None:
    assert compared("The_quick\u00ad \u200bbr\u200bown **FOX**") == compared("the quick brown fox")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("สะพานsteel", [*"สะพาน", "steel"]), ("ก้นbox 3.5", ["ก้", "น", "box", "3", "5"]),
        ("桥在wind中", [*"桥在", "wind", "中"]),
        ("पुल हिलता है।", ["पुल", "हिलता", "है"]), ("Größe — CAFÉ", ["grösse", "café"]), ("ភាសា", ["ភា", "សា"]), ("!?", []),
    ],
)  # fmt: skip
def test_letters_that_stand_without_spaces_are_words_with_their_marks(text: str, found: list[str], form: Any) -> None:
    assert compared(unicodedata.normalize(form, text)) == [unicodedata.normalize("NFKC", word) for word in found]
