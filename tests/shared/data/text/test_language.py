"""Languages: what is told at once, what needs length, and what is left alone."""

from __future__ import annotations

import time

import pytest

from tuneline.data.text.language import CODES, Prose, is_in, is_in_another_language

ENGLISH = "My coffee machine leaks from below every morning, and I cannot see why it would do that."
GERMAN = "Meine Kaffeemaschine tropft jeden Morgen von unten, und ich kann mir nicht erklären, warum."
SPANISH = "Mi cafetera gotea por debajo todas las mañanas y no consigo entender por qué lo hace."
NORWEGIAN = "Kaffemaskinen min lekker fra undersiden hver morgen, og jeg skjønner ikke hvorfor den gjør det."
DANISH = "Min kaffemaskine lækker fra undersiden hver morgen, og jeg forstår ikke, hvorfor den gør det."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"), (GERMAN, "de"), (SPANISH, "es"), ("哪根柱子先动的？", "zh"), ("어느 기둥이", "ko"),
        ("どの柱が先に動きましたか", "ja"), ("Ποιος στύλος κινήθηκε", "el"), ("Oui, merci.", None), ("12:30 €", None),
        ("", None), ("https://example.org/" + "a" * 100, None),
        ("```\nfor x in range(10): print(x, end='')\n```", None),
    ],
)  # fmt: skip
def test_a_language_is_told_by_its_script_or_from_enough_words(text: str, code: str | None) -> None:
    assert Prose(text).language == code


@pytest.mark.parametrize(
    ("user", "answer", "another"),
    [
        ("The left one.", "请在那里挖开看看。", True),
        ("The left one.", "Пожалуйста, выкопайте там яму.", True),
        ("它漏水了", "Please put a towel below it, and tell me whether the water still comes out.", True),
        (ENGLISH, GERMAN, True),
        (ENGLISH, "Please empty the tray first. 然后请清洗水箱，并检查密封圈是否损坏。", True),
        (ENGLISH, ENGLISH, False),
        ("它漏水了", "OK", False),
        ("它漏水了", "请检查 iPhone 的 Bluetooth 设置。", False),
        (ENGLISH, "It was made in Tokyo (東京) and has been sold all over the world for many years now.", False),
        (ENGLISH, "Das hilft.", False),
        (NORWEGIAN, DANISH, False),
        ("👍", GERMAN, False),
        ("What does 漏水 mean when it stands on the display of my machine?", "漏水 means that water leaks out.", False),
    ],
)
def test_an_answer_in_another_language_is_seen_and_names_and_short_words_are_not(
    user: str, answer: str, another: bool
) -> None:
    assert is_in_another_language(Prose(answer), Prose(user), Prose(user)) is another


def test_an_answer_may_be_in_the_language_of_its_message_or_of_the_conversation() -> None:
    said = Prose(f"{GERMAN} {GERMAN} {ENGLISH}")
    assert not is_in_another_language(Prose(ENGLISH), Prose(ENGLISH), said), "the user has changed over"
    assert not is_in_another_language(Prose(GERMAN), Prose(ENGLISH), said), "an English error message, pasted"
    assert is_in_another_language(Prose(SPANISH), Prose(ENGLISH), said)


@pytest.mark.parametrize(
    ("answer", "code", "is_so"),
    [(ENGLISH, "en", True), (GERMAN, "en", False), ("好的", "en", False), ("好的", "zh", True), ("Ok.", "de", True)],
)
def test_an_answer_is_compared_with_a_given_language(answer: str, code: str, is_so: bool) -> None:
    assert is_in(Prose(answer), code) is is_so


def test_codes_are_two_letters() -> None:
    assert {len(code) for code in CODES} == {2} and {"en", "zh", "de"} <= CODES


@pytest.mark.parametrize("piece", ["a", "`", "<", "```", "@", "a@", "漢", "http://", "é", "\u200d", "я "])
def test_a_text_that_repeats_one_piece_takes_no_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    is_in_another_language(Prose(text), Prose(ENGLISH), Prose(ENGLISH))
    assert time.process_time() - began < 15
