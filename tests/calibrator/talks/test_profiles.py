"""What talks have in common is read alike in every script."""

from __future__ import annotations

import pytest

from tuneline_calibrator.talks.profiles import aggregate, medoid, style_of


def test_the_order_is_that_which_is_nearest_to_all_others() -> None:
    assert medoid([["hook"], ["hook", "method", "outro"], ["method", "outro"]]) == ["hook", "method", "outro"]
    assert medoid([["a", "b"], ["b", "a"]]) == ["a", "b"], "the first of equals"


def test_no_sentence_is_told_longer_than_the_longest() -> None:
    assert style_of(f"{'word ' * 30}. A b c.").sentence_words_p90 <= 30
    assert style_of("One two three.").sentence_words_p90 == 3


@pytest.mark.parametrize("text", ["...", "🙂", "-"])
def test_a_text_without_words_has_a_style_of_zeros(text: str) -> None:
    assert set(style_of(text).model_dump().values()) == {0.0}


def test_figures_are_medians_and_the_least_and_largest() -> None:
    talks = [
        ("One two three. Do you?", 10.0, ["hook"], [10.0]),
        ("我们的桥在摇晃。", 20.0, ["hook", "outro"], [5.0, 15.0]),
    ]
    found = aggregate(talks)
    assert found.order == ["hook"] and found.shares["hook"].median == 0.625 and found.shares["outro"].low == 0
    assert (found.words.low, found.words.high, found.words_per_minute.low) == (5, 7, 21)
    assert "hook" in found.told
