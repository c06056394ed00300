"""What judges answer that do not follow the JSON schema: read where it can only mean one thing, else asked again."""

from __future__ import annotations

from typing import Any

import pytest

from tuneline.errors import Unreadable
from tuneline_calibrator.models.asking import Line
from tuneline_calibrator.models.judge import Concept, ModelJudge, Quality, read_answer

THREE = [Concept(id=f"c{n}", name=name, explained_if="") for n, name in enumerate(("Bridge", "Wind load", "Damper"), 1)]


class Says(Line):
    """A line on which the same is always answered."""

    def __init__(self, text: str) -> None:
        self.label, self._text = "", text

    def read(self, task: Any, messages: Any, schema: Any, reader: Any, again: int = 0) -> Any:
        return reader(self._text)


@pytest.mark.parametrize(
    ("engagement", "read"),
    [("80", 80), ('"80"', 80), ('" 80 / 100"', 80), ('"80.5%"', 80.5), ("0", 0), ("100", 100)],
)
def test_a_figure_may_be_told_in_words(engagement: str, read: float) -> None:
    text = f'{{"reason": "x", "engagement": {engagement}, "clarity": 50, "accuracy": 60}}'
    assert read_answer(text, Quality).engagement == read


@pytest.mark.parametrize("engagement", ["180", "-1", "NaN", "true", "null", '"8/10"', '"high"', "[80]"])
def test_a_figure_out_of_range_or_of_another_scale_is_not_guessed(engagement: str) -> None:
    text = f'{{"reason": "x", "engagement": {engagement}, "clarity": 50, "accuracy": 60}}'
    with pytest.raises(Unreadable):
        read_answer(text, Quality)


def test_kinds_may_be_written_large_and_other_words_are_asked_for_again() -> None:
    assert ModelJudge(Says('{"kinds": ["Hook", " METHOD "]}')).kinds(["a", "b"]) == ["hook", "method"]
    with pytest.raises(Unreadable):
        ModelJudge(Says('{"kinds": ["hook", "introduction"]}')).kinds(["a", "b"])


def test_concepts_may_be_bare_names_and_each_counts_once() -> None:
    said = '{"concepts": ["Bridge", {"name": "wind  load", "explained_if": "x"}, "bridge", "Wind load", "Damper"]}'
    found = ModelJudge(Says(said)).concepts("source", "talk", 2)
    assert [(one.id, one.name) for one in found] == [("c1", "Bridge"), ("c2", "wind  load")]


def test_what_is_explained_may_be_told_by_number_or_name() -> None:
    assert ModelJudge(Says('{"explained": ["C1", "3", "wind  LOAD", "c99"]}')).explained("t", THREE) == {
        "c1",
        "c2",
        "c3",
    }
    assert ModelJudge(Says('{"explained": ["4", "the bridge"]}')).explained("t", THREE) == frozenset()
