from __future__ import annotations

import random

import pytest

from tuneline.commands.agreement import agreement, kappa
from tuneline.data.text.rules import Answer
from tuneline.judge.panel import combine

WORDS: dict[str, Answer] = {"y": "YES", "n": "NO", "a": "NA"}


def answered(letters: str) -> dict[str, dict[str, Answer]]:
    """Answers to one criterion `A`; each letter is a transcript's."""
    return {f"t{place}": {"A": WORDS[letter]} for place, letter in enumerate(letters)}


def test_kappa_is_that_of_the_textbook() -> None:
    # 20 yes-yes, 15 no-no, 5 and 10 apart: agreement 0.7, by chance 0.5 (Cohen 1960).
    assert kappa([15, 0, 5, 0, 0, 0, 10, 0, 20]) == pytest.approx(0.4)
    assert kappa([5, 0, 0, 0, 0, 0, 0, 0, 5]) == 1.0
    assert kappa([0, 0, 5, 0, 0, 0, 5, 0, 0]) == -1.0
    assert kappa([0, 0, 0, 0, 0, 0, 0, 0, 9]) is None and kappa([0] * 9) is None
    assert kappa([0, 0, 3, 0, 0, 0, 0, 0, 6]) is None, "one side says YES to all: whatever agrees does so by chance"


def test_an_na_for_a_yes_is_half_a_mistake() -> None:
    half, whole = [10, 0, 0, 0, 0, 0, 0, 2, 10], [10, 0, 0, 0, 0, 0, 2, 0, 10]
    assert (kappa(half) or 0) > (kappa(whole) or 0) > 0.8


def test_agreement_counts_what_both_have_answered_and_says_who_is_stricter() -> None:
    [row, whole] = agreement(answered("yynnya"), answered("yynyn"), ["A"])
    assert (row.criterion, row.transcripts, row.answers, row.accuracy) == ("A", 5, 5, 0.6)
    assert (row.stricter, row.milder) == (1, 1)
    assert whole.model_copy(update={"criterion": "A"}) == row
    assert row.accuracy_interval and row.accuracy_interval.low < 0.6 < row.accuracy_interval.high


def test_an_interval_covers_the_truth_about_as_often_as_it_says_though_answers_hang_together() -> None:
    draw, names = random.Random(5), [f"C{n}" for n in range(6)]
    other: dict[Answer, Answer] = {"YES": "NO", "NO": "YES"}
    hits = 0
    for trial in range(60):
        ours: dict[str, dict[str, Answer]] = {}
        theirs: dict[str, dict[str, Answer]] = {}
        for number in range(40):
            # Of a quarter of the transcripts the judge gets half of the answers wrong: the truth is 7/8.
            hard = draw.random() < 0.25
            people: dict[str, Answer] = {name: draw.choice(("YES", "NO")) for name in names}
            theirs[f"t{number}"] = people
            ours[f"t{number}"] = {n: other[a] if hard and draw.random() < 0.5 else a for n, a in people.items()}
        interval = agreement(ours, theirs, names, seed=trial)[-1].accuracy_interval
        assert interval
        hits += interval.low <= 7 / 8 <= interval.high
    assert 51 <= hits <= 60, "an interval over single answers would cover it in about 45 of 60"


def test_one_transcript_has_no_interval_and_no_shared_one_no_figure() -> None:
    [row, _] = agreement(answered("y"), answered("y"), ["A"])
    assert (row.accuracy, row.accuracy_interval, row.kappa) == (1.0, None, None)
    [row, _] = agreement(answered("y"), {}, ["A"])
    assert (row.transcripts, row.accuracy, row.kappa) == (0, None, None)


def test_two_judges_come_to_the_stricter_answer() -> None:
    ours: dict[str, Answer] = {"A": "YES", "B": "NA", "C": "NO", "D": "YES"}
    theirs: dict[str, Answer] = {"A": "NO", "B": "YES", "C": "NA"}
    assert combine(ours, theirs) == combine(theirs, ours) == {"A": "NO", "B": "NA", "C": "NO"}


def test_full_agreement_of_a_few_transcripts_proves_little() -> None:
    [row, _] = agreement(answered("yn" * 7), answered("yn" * 7), ["A"])
    assert row.accuracy_interval and row.accuracy_interval.low == pytest.approx(0.025 ** (1 / 14))
    assert (row.accuracy, row.accuracy_interval.high, row.kappa, row.kappa_interval) == (1.0, 1.0, 1.0, None)
    [row, _] = agreement(answered("y" * 20), answered("n" * 20), ["A"])
    assert row.accuracy_interval and row.accuracy_interval.low == 0
    assert row.accuracy_interval.high == pytest.approx(1 - 0.025 ** (1 / 20))
