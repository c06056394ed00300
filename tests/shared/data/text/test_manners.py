"""How people write."""

from __future__ import annotations

import pytest

from tuneline.data.text.manners import FLAWS, flaws_in, flaws_of, styles_of


@pytest.mark.parametrize(
    ("message", "flaws"),
    [
        ("Where is my order?", []),
        ("where is my order", [0, 1]),
        ("Where is it?!!", [2]),
        ("I do not know...", [3]),
        ("WHERE IS IT?", [4]),
        ("Why , I ask .", [5]),
        ("Thank you \U0001f600", [6]),
        ("It is is broken.", [7]),
        ("注文はどこですか。", []),
        ("", []),
        ("OK!", []),
    ],
)
def test_what_is_careless_in_a_message_is_told_by_what_stands_in_it(message: str, flaws: list[int]) -> None:
    assert flaws_in(message) == [list(FLAWS)[number] for number in flaws]


def test_each_style_has_the_limit_that_nine_of_ten_of_its_messages_keep_to() -> None:
    people = [[" ".join(["word"] * n)] for n in (4, 20, 60, 4, 20, 60, 4, 20, 60)]
    assert styles_of(people) == [("short", 4), ("medium", 20), ("long", 60)]
    assert styles_of([["one two three four"]]) == [("short", 4)] and styles_of([]) == []


def test_a_flaw_of_few_people_is_not_told() -> None:
    people = [["no capital."], ["none."], ["small letters.", "Fine."], ["Loud!!"]]
    assert flaws_of(people, 3) == {"begins a sentence with a small letter": 3 / 5}
