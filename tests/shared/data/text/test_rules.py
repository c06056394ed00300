from __future__ import annotations

import random
import time
from typing import Any

import pytest
from pydantic import TypeAdapter

from tuneline.data.text.rules import Rule
from tuneline.data.text.words import contains, words
from tuneline.data.transcripts import Exchange

RULES: TypeAdapter[Rule] = TypeAdapter(Rule)


def answer(rule: str, *answers: str, users: tuple[str, ...] = (), **fields: Any) -> str:
    said = users or ("Hello?",) * len(answers)
    exchanges = [Exchange(user=user, assistant=text) for user, text in zip(said, answers, strict=True)]
    return RULES.validate_python({"rule": rule, **fields}).answer(exchanges)


def test_answers_contain_asks_for_a_share_of_the_answers() -> None:
    assert answer("answers_contain", "Sorry!", "No.", any=["sorry"], share=0.5) == "YES"
    assert answer("answers_contain", "Sorry!", "No.", any=["sorry"], share=0.51) == "NO"
    assert answer("answers_contain", "SORRY", "many thanks", any=["sorry", "Thank"]) == "YES"


def test_answers_avoid_forbids_a_phrase_in_any_answer() -> None:
    assert answer("answers_avoid", "Fine.", "That's your own  fault", any=["your own fault"]) == "NO"
    assert answer("answers_avoid", "Fine.", "Good.", any=["fault"]) == "YES"


def test_a_phrase_is_found_from_the_beginning_of_a_word_only() -> None:
    assert contains("It was refunded.", ["refund"])
    assert not contains("It was prefunded.", ["refund"])
    assert contains("prefund, then refund", ["refund"])
    assert contains("I don’t know", ["don't"])
    assert contains("see http://x.y", ["://x"])


def test_ends_with_question_looks_at_the_last_sentence() -> None:
    assert answer("ends_with_question", "Yes. What else?", share=1) == "YES"
    assert answer("ends_with_question", "What else? Tell me.", share=0.1) == "NO"
    assert answer("ends_with_question", 'She asked "why?" Then "how?"', share=1) == "YES"
    assert answer("ends_with_question", "Why?", "How?", share=0, max_share=0.9) == "NO"


def test_length_counts_words_within_bounds() -> None:
    assert answer("length", "one two three", min_words=3, max_words=3) == "YES"
    assert answer("length", "one two", "one two three four", min_words=3, max_words=3, share=0) == "YES"
    assert answer("length", "one two", "one two three", min_words=3, max_words=3, share=0.6) == "NO"
    assert words("It’s a well-known 3rd case.") == ["it's", "a", "well", "known", "3rd", "case"]


def test_first_and_last_answer_are_the_ones_looked_at() -> None:
    assert answer("first_answer_contains", "Welcome!", "Bye.", any=["welcome"]) == "YES"
    assert answer("first_answer_contains", "Bye.", "Welcome!", any=["welcome"]) == "NO"
    assert answer("last_answer_contains", "Welcome!", "Bye.", any=["bye"]) == "YES"
    assert answer("last_answer_contains", "Bye.", "Welcome!", any=["bye"]) == "NO"


def test_no_repetition_counts_pairs_of_nearly_the_same_answers() -> None:
    long = "Please send me the number that is printed on the bottom of your machine today"
    assert answer("no_repetition", long, long.upper() + "!", "Thank you, that helps a lot.") == "NO"
    assert answer("no_repetition", long, long, "Thank you, that helps a lot.", max_share=0.34) == "YES"
    assert answer("no_repetition", long, "Please send me a photo of it instead, if you can.") == "YES"
    assert answer("no_repetition", "Yes.", "yes") == "NO"
    assert answer("no_repetition", "Only one.") == "YES"


def test_no_repetition_takes_time_in_proportion_to_the_answers() -> None:
    chance = random.Random(1)
    answers = [" ".join(f"word{chance.randrange(300)}" for _ in range(12)) for _ in range(4000)]
    began = time.process_time()
    assert answer("no_repetition", *answers) == "YES"
    assert time.process_time() - began < 40 * sum(map(len, answers)) / 1e6


@pytest.mark.parametrize("stuck", ["I see. " * 5, "no " * 8, "hm" * 20, "one two three four five six " * 4])
def test_no_repetition_sees_an_answer_that_is_stuck(stuck: str) -> None:
    assert answer("no_repetition", f"Well, {stuck}", max_share=1) == "NO"


@pytest.mark.parametrize(
    "fine", ["No, no, no!", "It is very, very, very, very good.", "-" * 80, "Step 1. Step 2. Step 3."]
)
def test_no_repetition_leaves_emphasis_and_rulers_alone(fine: str) -> None:
    assert answer("no_repetition", fine) == "YES"


def test_echoes_user_wants_a_content_word_of_the_message_before() -> None:
    users = ("The grinder makes a noise", "Ok!")
    assert answer("echoes_user", "Which NOISE?", "Good.", users=users, min_share=1) == "YES"
    assert answer("echoes_user", "I see.", "Good.", users=users, min_share=0.1) == "NO"
    assert answer("echoes_user", "Good.", users=("Would they really?",), min_share=1) == "NA"


def test_well_formed_wants_a_beginning_and_an_end() -> None:
    assert answer("well_formed", "Good.", '"Yes!" she said.', "**Note:** it works.", "2 cups, then?") == "YES"
    assert answer("well_formed", "good.", share=0.1) == "NO"
    assert answer("well_formed", "It goes on and on and", share=0.1) == "NO"
    assert answer("well_formed", "", share=0.1) == "NO"


def test_when_user_contains_is_na_without_such_a_message() -> None:
    rule = {"user_any": ["smoke"], "any": ["unplug"]}
    assert answer("when_user_contains", "Nice.", users=("All fine",), **rule) == "NA"
    assert answer("when_user_contains", "Unplug it!", "Nice.", users=("Smoke!", "Done"), **rule) == "YES"
    assert answer("when_user_contains", "Nice.", "Unplug it!", users=("Smoke!", "Done"), **rule) == "NO"


def test_a_conversation_without_answers_meets_no_rule_that_asks_for_something() -> None:
    assert answer("answers_contain", any=["x"], share=0.1) == "NO"
    assert answer("first_answer_contains", any=["x"]) == "NO"
    assert answer("last_answer_contains", any=["x"]) == "NO"


def test_a_long_answer_is_looked_at_in_well_under_a_second() -> None:
    assert answer("no_repetition", " ".join(f"word{n}" for n in range(50_000))) == "YES"
    assert answer("no_repetition", "abcdefghij" * 9_000 + "z") == "NO"
