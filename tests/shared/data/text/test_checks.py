"""Rules that look for faults, exchange by exchange."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tuneline.data.text.checks import FaultRule
from tuneline.data.text.rules import Rule
from tuneline.data.transcripts import Exchange

RULES: TypeAdapter[FaultRule] = TypeAdapter(Rule)  # type: ignore[arg-type]  # those that this file tests are checks
ASKED = "My coffee machine leaks from below every morning, and I cannot see why."


def faults(rule: dict[str, object], *answers: str, user: str = ASKED) -> list[int]:
    return RULES.validate_python(rule).faults([Exchange(user, answer) for answer in answers])


def test_answers_in_another_language_than_the_users_or_than_a_given_one_are_faults() -> None:
    answers = "Please empty the tray, and tell me what you see behind it.", "请先清空托盘。", "Ok."
    assert faults({"rule": "language"}, *answers) == [2]
    assert faults({"rule": "language", "language": "zh"}, *answers) == [1]


def test_answers_that_are_each_too_short_to_tell_are_told_together() -> None:
    german = "Welches Teil ist nass?", "Leeren Sie die Schale.", "Dann ist die Dichtung alt.", "Gern geschehen!"
    assert faults({"rule": "language"}, *german) == [1, 2, 3, 4]
    assert faults({"rule": "language"}, german[0], "Empty the tray.", "The seal is old.", "You are welcome!") == []


@pytest.mark.parametrize("language", ["english", "xx", "", "EN"])
def test_a_language_that_cannot_be_told_is_refused(language: str) -> None:
    with pytest.raises(ValidationError, match="ISO 639-1 code of a language that can be told, such as en"):
        RULES.validate_python({"rule": "language", "language": language})


def test_kinds_of_artifacts_can_be_chosen() -> None:
    answers = "*smiles* Good.", "Good.\n\nSent from my iPhone"
    assert faults({"rule": "no_artifacts"}, *answers) == [1, 2]
    assert faults({"rule": "no_artifacts", "kinds": ["footers"]}, *answers) == [2]


VARIED = (
    "The tray collects what drips from the group, and once it is full the water runs over its edge at the back, where "
    "nobody sees it before the worktop is wet. Take it out with both hands, empty it, and dry the float, which tells "
    "the machine how full it is. If water comes out again within a day, the seal of the tank may be worn instead."
)


@pytest.mark.parametrize(
    ("answer", "loops"),
    [
        (VARIED, False),
        ("You have to clean it. " * 30, True),
        (VARIED + " " + VARIED + " " + VARIED, True),
        ("🌳" * 80, True),
        ("very very very very very very very very good", True),
        ("1. Tray\n2. Tank\n3. Seal\n4. Hose", False),
        ("No, no, no!", False),
    ],
)
def test_an_answer_that_says_the_same_over_and_over_loops(answer: str, loops: bool) -> None:
    assert faults({"rule": "no_loops"}, answer) == ([1] if loops else [])


def test_length_is_compared_with_the_message_and_short_answers_are_free() -> None:
    rule: dict[str, object] = {"rule": "length_ratio", "max_ratio": 3, "min_ratio": 0.5, "free_words": 5}
    assert faults(rule, "one two three four five", "one two three four five six seven", "", user="leak now") == [2, 3]


def test_a_conversation_whose_answers_begin_alike_lacks_variety() -> None:
    alike, other = "I am sorry to hear about the tray.", "Good to know about the tank."
    rule: dict[str, object] = {"rule": "varied_openings"}
    assert faults(rule, alike, alike, other, alike, alike) == [1, 2, 4, 5]
    assert faults(rule, alike, alike, alike) == [], "three answers are no habit"
    assert faults({**rule, "max_share": 0.9}, alike, alike, other, alike, alike) == []


def test_a_share_of_faults_may_be_allowed() -> None:
    talk = [Exchange(ASKED, "You lose."), Exchange(ASKED, "Good."), Exchange(ASKED, "Fine."), Exchange(ASKED, "Yes.")]
    rule = {"rule": "answers_avoid", "any": ["lose"]}
    assert RULES.validate_python(rule).answer(talk) == "NO"
    assert RULES.validate_python({**rule, "max_share": 0.25}).answer(talk) == "YES"


def test_a_blank_phrase_is_refused() -> None:
    with pytest.raises(ValidationError):
        RULES.validate_python({"rule": "answers_avoid", "any": [" "]})
