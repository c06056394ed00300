"""Sentences become passages, and passages parts, in every script; no second is lost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tuneline_calibrator.talks.segments import LONGEST_S, SHORTEST_S, Kind, Part, Passage, grouped, merged, sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is 3.5 metres. Really?! Yes", ["It is 3.5 metres.", "Really?!", "Yes"]),
        ('She said "go." He went to example.org.', ['She said "go."', "He went to example.org."]),
        ("桥在摇晃。很危险！真的吗？", ["桥在摇晃。", "很危险！", "真的吗？"]),
        ("पुल हिलता है। क्यों?", ["पुल हिलता है।", "क्यों?"]),
        ("...", []), ("", []), ("no end\n at  all", ["no end at all"]),
        ("." * 200_000 + "x", ["." * 200_000 + "x"]),
    ],
)  # fmt: skip
def test_a_sentence_ends_as_its_script_ends_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


@pytest.mark.parametrize("lengths", [[], [5.0], [5.0] * 40, [30.0, 2.0, 89.0, 15.0, 80.0], [0.0, 0.0, 25.0], [895.0]])
def test_passages_hold_all_that_is_said_in_at_most_90_seconds_each(lengths: Sequence[float]) -> None:
    said = [Passage(f"One {n} goes on and on. And so it does.", length) for n, length in enumerate(lengths)]
    found = grouped(said)
    assert " ".join(one.text for one in found).split() == " ".join(one.text for one in said).split()
    assert sum(one.seconds for one in found) == pytest.approx(sum(lengths))
    assert all(one.seconds <= 2 * LONGEST_S for one in found)
    assert all(a.seconds >= SHORTEST_S or a.seconds + b.seconds > LONGEST_S for a, b in pairwise(found))


def test_a_talk_that_comes_in_one_piece_is_cut_by_its_sentences_and_they_by_their_words() -> None:
    told = Passage("A short one. " + "word " * 300 + "end. Another short one.", 306 * 0.5)
    found = grouped([told])
    assert len(found) > 1 and all(one.seconds <= LONGEST_S for one in found)
    assert sum(one.seconds for one in found) == pytest.approx(told.seconds)


def test_neighbours_of_one_kind_are_one_part() -> None:
    kinds: list[Kind] = ["hook", "hook", "method", "hook"]
    assert merged(kinds, [Passage("x", 20.0 + n) for n in range(4)]) == [
        Part("hook", 41.0), Part("method", 22.0), Part("hook", 23.0),
    ]  # fmt: skip
