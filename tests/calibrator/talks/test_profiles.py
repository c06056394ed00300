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


GERMAN = "Habt ihr euch gefragt, warum eine Brücke im Wind summt? Wir hängen einen Dämpfer unter das Deck. Seht ihr es?"
ENGLISH = "Have you seen that the bridge hums in the wind? We hang a damper below the deck, and it is calm."


def test_persons_are_counted_in_english_and_not_told_of_other_languages() -> None:
    assert style_of(GERMAN).second_person_per_word is None
    assert style_of(ENGLISH).second_person_per_word == pytest.approx(1 / 21)
    german, both = (
        aggregate([(text, 10.0, ["hook"], [10.0]) for text in texts]) for texts in ([GERMAN], [GERMAN, ENGLISH])
    )
    assert "you:" not in german.told and german.first_person_per_word is None and "questions: 67%" in german.told
    assert both.second_person_per_word is not None and both.second_person_per_word.low > 0 and "you: 4.8%" in both.told


@pytest.mark.parametrize("text", ["你好吗？很好。", "هل ترى؟ نعم.", "See? Yes."])
def test_a_question_is_one_in_every_script(text: str) -> None:
    assert style_of(text).questions_per_sentence == 0.5


def test_words_and_numbers_are_told_apart_in_a_script_without_spaces() -> None:
    found = style_of("桥长300米。桥高20米。")
    assert (found.numbers_per_100_words, found.distinct_words) == (25.0, 0.75)
