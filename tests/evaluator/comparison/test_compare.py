"""What is said around the figures."""

from __future__ import annotations

import pytest

from tuneline.stage import Maker
from tuneline_evaluator.comparison.compare import about_model


def made(forgotten: int) -> Maker:
    return Maker(
        stage="gguf-converter", version=1, fingerprint="f", manifest_sha256="0", params={}, inputs={}, headline="",
        counts={}, commit=None, finished_at="2026-11-25T00:00:00Z", forgotten=forgotten,
    )  # fmt: skip


@pytest.mark.parametrize(("count", "words"), [(1, "1 transcript that was"), (2, "2 transcripts that were")])
def test_a_model_made_with_what_was_forgotten_is_marked_in_a_report_made_after_that(count: int, words: str) -> None:
    [note] = about_model(made(count))
    assert f"learnt from {words} forgotten since" in note and "train it again" in note


@pytest.mark.parametrize("maker", [None, made(0)])
def test_of_any_other_model_nothing_is_said(maker: Maker | None) -> None:
    assert not list(about_model(maker))
