from __future__ import annotations

import re

import pytest

from tuneline.data.text.words import loops
from tuneline.llm.completion import Finish
from tuneline_generator.writing.quality import Rules, classify

LABELS = (
    "Instruction", "Response", "Question", "Answer", "Q", "A", "User", "Human", "Assistant", "Input", "Output",
)  # fmt: skip
RULES = Rules(labels=LABELS, headings=True)
DETAILED = ("The kettle boils, the cup is warm, and nobody has to hurry today. " * 4)[:263]


@pytest.mark.parametrize(
    ("text", "runaway", "leaks"),
    [
        ("Paris.", False, False),
        ("A" * 500, False, False),
        ("A" * 501, True, False),
        ("Sleep well.\n\nInstruction: Name a fruit.\nResponse: Apple.", True, False),
        ("Sleep well.\r\n\r\nInstruction: Name a fruit.", True, False),
        ("Instruction: Name a fruit.", False, True),
        ("Answer: Paris", False, True),
        ("Follow the instruction: press the button.", False, False),
        ("Read this.\nInstruction manuals help too.", False, False),
        ("It depends.\nQ: Why?\nA: Because.", True, False),
        ("Yes.\nUser: and then?", True, False),
        ("Fine.\n   Response 2: ok", True, False),
        ("Fine.\n# Response 2: ok", True, False),
        ("Two steps:\n1. Stop.\n2. Go.", False, False),
        ("Use headings:\n### Steps\nGo.", True, False),
        ("Use headings:\n###", True, False),
        ("Use C#.\n#include <x>", False, False),
        ("Use <b>bold</b> text.", False, False),
        ("One. Two! Three? Four.", False, False),
        ("Dear all,\nQuestion 3: who pays?\nRegards", True, False),
        ("**Response:** Paris.", False, True),
        ("__Answer__ : Paris", False, True),
        ("Instruction (about cooking): Name a fruit.", False, True),
        ("Answer (in short) it is Paris: the town.", False, False),
        ("Paris.\n\n**User:** And Rome?", True, False),
        ("Paris.\n### **Question 2**: And Rome?", True, False),
        ("Paris.\n**Note:** it is large.", False, False),
        ("Hello<|im_end|>", False, True),
        ("Look at <start_of_image> first.", False, True),
        (DETAILED, False, False),
    ],
)
def test_what_is_a_runaway_and_what_leaks(text: str, runaway: bool, leaks: bool) -> None:
    assert (RULES.is_runaway(text), RULES.leaks(text)) == (runaway, leaks)
    flaw = classify("Say something nice.", text, RULES)
    assert (flaw.status if flaw else None) == ("leaks" if leaks else "runaway" if runaway else None)


def test_a_label_that_people_use_in_letters_can_be_taken_out() -> None:
    letter = "Dear all,\nQuestion 3: who pays?\nRegards"
    assert not Rules(labels=tuple(label for label in LABELS if label != "Question")).is_runaway(letter)


def test_headings_are_prompts_only_where_the_recipe_stops_at_them_and_nothing_is_without_labels() -> None:
    text = "Use headings:\n### Steps\nGo.\nUser: and then?"
    assert not Rules(labels=("Response",)).is_runaway(text)
    assert not Rules(max_chars=None).is_runaway(text * 100) and not Rules().leaks("Answer: Paris")


def test_labels_are_words_and_no_patterns() -> None:
    assert Rules(labels=("A.*",)).is_runaway("Yes.\nA.*: more") and not Rules(labels=("A.*",)).is_runaway(
        "Yes.\nAxx: more"
    )


def test_a_control_token_of_ones_own_tokenizer_leaks() -> None:
    rules = Rules(control=frozenset({"[[turn]]"}))
    assert rules.leaks("So be it.[[turn]]") and not RULES.leaks("So be it.[[turn]]")


def thirty() -> list[str]:
    """Right answers: sixteen short ones, nine with some detail, five of four sentences."""
    return ["A pear grows on a tree."] * 16 + [DETAILED] * 9 + ["Wash it. Peel it. Slice it. Serve it."] * 5


def was_runaway(text: str) -> bool:
    """A rule that looks sensible and is wrong: long, or more than three sentences."""
    return len(text) > 200 or len(re.findall(r"[^.!?]+[.!?]+(?:\s|$)", text)) > 3


def test_thirty_right_answers_are_no_runaways_although_nearly_half_of_them_are_long() -> None:
    assert len(DETAILED) == 263
    assert sum(map(was_runaway, thirty())) == 14, "46.7 % by length"
    assert sum(map(RULES.is_runaway, thirty())) == 0
    assert not any(map(RULES.leaks, thirty()))


@pytest.mark.parametrize(
    ("prompt", "response", "prompt_finish", "finish", "status"),
    [
        ("Name a round fruit.", "An apple.", "stop", "stop", None),
        ("Name a round fruit.", " \n", "stop", "length", "empty"),
        ("Name a <|im_end|> fruit.", "An apple.", "stop", "length", "leaks"),
        ("Question: Name a fruit.", None, "stop", "stop", "leaks"),
        ("Name a round fruit.", "An apple.\nQ: And?<|im_end|>", "stop", "length", "leaks"),
        ("Name a round fruit.", "An apple.\nQ: And?", "stop", "length", "runaway"),
        ("Name a round fruit.", "An app", "stop", "length", "cut"),
        ("Name fruit.", "An app", "stop", "length", "cut"),
        ("Name fruit.", None, "word", "stop", "bad_prompt"),
        ("Name a fruit", None, "word", "stop", None),
        ("word " * 150, None, "word", "stop", None),
        ("word " * 151, None, "word", "stop", "bad_prompt"),
        ("12 + 4 =", None, "word", "stop", "bad_prompt"),
        ("", None, "word", "stop", "bad_prompt"),
        ("给我讲一个关于月亮的故事？", None, "word", "stop", None),
        ("月亮", None, "word", "stop", "bad_prompt"),
        ("บอกฉันเกี่ยวกับดวงจันทร์", None, "word", "stop", None),
        ("月" * 151, None, "word", "stop", "bad_prompt"),
        ("Name a round fruit.", "name a round fruit", "stop", "stop", "echo"),
        ("Name a round fruit.", "Name a round fruit. An apple.", "stop", "stop", None),
        ("Tell me " + "very " * 20 + "much.", "Tell me " + "very " * 20 + "much. No.", "stop", "stop", "echo"),
        ("Name a round fruit that", "An apple.", "length", "stop", "bad_prompt"),
    ],
)
def test_the_first_flaw_counts(
    prompt: str, response: str | None, prompt_finish: Finish, finish: Finish, status: str | None
) -> None:
    flaw = classify(prompt, response, RULES, prompt_finish=prompt_finish, finish=finish)
    assert (flaw.status if flaw else None) == status
    assert flaw is None or not flaw.detail.count("fruit")


def test_a_colon_of_another_width_ends_a_label_too() -> None:
    rules = Rules(labels=("问题",))
    assert (
        rules.leaks("问题：为什么？") and rules.is_runaway("月亮。\n问题：为什么？") and not rules.leaks("问题很多。")
    )


def test_a_cut_answer_may_be_kept_and_long_prompts_allowed() -> None:
    assert classify("Name a fruit", "An app", Rules(keep_cut=True), finish="length") is None
    assert classify("word " * 1000, "Yes.", Rules(prompt_words=None)) is None
    assert classify(" ", "Yes.", Rules(prompt_words=None)) is not None


def test_saying_the_same_over_and_over_is_a_loop() -> None:
    assert loops("I am sorry to hear that. " * 6) and loops("ha" * 40)
    assert not loops("ha" * 19) and not loops(DETAILED[:66]) and not loops("")
    assert not loops("Wash the apple, peel it, cut it into slices and serve them with a little honey.")
