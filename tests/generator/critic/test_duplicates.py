from __future__ import annotations

from tuneline.data.text.likeness import normal
from tuneline_generator.critic.duplicates import twins


def test_what_is_equal_for_people_is_equal() -> None:
    assert (
        normal("  What's   the CAPITAL of France?! ")
        == normal("Ｗｈａｔ’s the capital of France")
        == "what s the capital of france"
    )
    assert normal("cafe\u0301") == normal("CAFÉ") and normal("!?") == ""


def test_the_first_of_rows_that_are_alike_stays() -> None:
    tips = "List five useful tips for people who want to sleep better at night during a long and hot summer"
    rows = [
        tips, "Name a round fruit.", "  name a ROUND fruit!", f"{tips} again", "Name a square fruit.", tips.upper(),
    ]  # fmt: skip
    assert twins(rows) == [None, None, "duplicate", "near_duplicate", None, "duplicate"]


def test_rows_in_chinese_that_are_nearly_alike_are_found_and_others_about_the_same_stay() -> None:
    five = "请列出五个可以帮助人们在炎热漫长的夏天夜里睡得更好的实用建议"
    rows = [five, f"{five}吧", "请列出三个可以帮助孩子在寒冷的冬天早上起床的办法"]
    assert twins(rows) == [None, "near_duplicate", None]


def test_what_was_dropped_is_no_measure_for_the_next() -> None:
    words = [f"w{n}" for n in range(40)]
    chain = [" ".join(words[at : at + 30]) for at in range(0, 11, 2)]
    found = twins(chain)
    assert found[:2] == [None, "near_duplicate"] and found.count(None) >= 2, "no drift from one neighbour to the next"
