"""What says what is held out."""

from __future__ import annotations

import random

import pytest
from rapidfuzz.distance import LCSseq

from tuneline.data.text.overlap import HeldOut, rouge_f1


def rouge_l(one: list[str], other: list[str]) -> float:
    """The score that what is held out is compared by, which the product only holds against its limit."""
    return rouge_f1(LCSseq.similarity(one, other), len(one), len(other))


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("the cat sat on the mat", "the cat lay on the mat", 0.8333333333333334),
        ("police killed the gunman", "police kill the gunman", 0.75),
        ("police killed the gunman", "the gunman kill police", 0.5),
        ("name three primary colours", "name three secondary colours and say why", 0.5454545454545454),
        ("one two three", "four five six", 0.0),
        ("", "four five six", 0.0),
    ],
)
def test_rouge_l_is_that_of_rouge_score(one: str, other: str, score: float) -> None:
    """The scores are `RougeScorer(["rougeL"]).score(one, other)["rougeL"].fmeasure` of rouge_score 0.1.2."""
    assert rouge_l(one.split(), other.split()) == pytest.approx(score)


def test_what_shares_seven_tenths_of_its_words_with_what_is_held_out_overlaps() -> None:
    held = HeldOut(["The cat sat on the mat.", "", "What is the capital of France?", "今日はとても暑いですね"])
    assert held.overlaps("THE CAT sat -- on the mat") and held.overlaps("the cat lay on the mat")
    assert held.overlaps("What is the capital of Spain?") and held.overlaps("今日はとても寒いですね")
    assert not held.overlaps("the mat on the cat sat") and not held.overlaps("Name a round fruit.")
    assert not held.overlaps("What is France?") and not held.overlaps("") and not HeldOut([]).overlaps("Anything.")


def test_every_pair_is_found_that_a_full_comparison_finds() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(1, 12))) for _ in range(120)]
    held, written = texts[:60], texts[60:]
    full = [any(rouge_l(text.split(), other.split()) >= 0.7 for other in held) for text in written]
    assert [HeldOut(held).overlaps(text) for text in written] == full and 0 < sum(full) < 60


def test_texts_of_all_lengths_overlap_from_the_same_share_of_common_words_on() -> None:
    for length in range(1, 40):
        held = HeldOut([" ".join(f"a{n}" for n in range(length))])
        for other in range(1, 40):
            for common in {0, min(length, other), *range(int(0.35 * (length + other)) - 2, min(length, other))} - {-1}:
                said = [f"a{n}" for n in range(common)] + [f"b{n}" for n in range(other - common)]
                wanted = 2 * common / (length + other) >= 0.7
                assert held.overlaps(" ".join(said)) is wanted, (length, other, common)
