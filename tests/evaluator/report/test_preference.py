"""What the report says of what a judge prefers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kit.comparisons import comparison, conversations, material, preferred
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.report.earlier import read_earlier
from tuneline_evaluator.report.page import page, summary_text


def html(made: Comparison, folder: Path) -> str:
    return page(made, conversations(made), read_earlier(material(folder, earlier=False), None))


def test_wins_ties_and_losses_the_gap_and_both_orders_reasons_are_on_the_page(tmp_path: Path) -> None:
    made = preferred(comparison(8), 126, 54, 15, flips=5)
    text = html(made, tmp_path)
    for part in (
        "126 wins, 20 ties, 54 losses", "(5 flips)", "+131 (+85 to +18", "base 1435, fine-tuned 1565",
        "At equal length", "What the rubric says", "Preferred in 68", "It names the float.", "Fine-tuned as A",
    ):  # fmt: skip
        assert part in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "<script" not in text
    assert made.headline.startswith("better: win rate 68 %, +18.0 points")
    assert "Fine-tuned preferred · tie · base preferred | 126 · 15 · 54" in summary_text(made)


def test_a_gain_by_length_is_called_one(tmp_path: Path) -> None:
    made = preferred(comparison(8), 120, 70, 10, by_length=True)
    assert made.preference is not None and made.preference.length is not None and made.preference.length.by_length
    text = html(made, tmp_path)
    assert "Gains by length" in text and "one of length" in summary_text(made)


@pytest.mark.parametrize(("wins", "losses"), [(11, 0), (0, 11)])
def test_no_interval_of_a_win_rate_goes_beyond_none_or_all(tmp_path: Path, wins: int, losses: int) -> None:
    made = preferred(comparison(8), wins, losses, 1)
    assert made.preference is not None and made.preference.effect.interval is not None
    ends = made.preference.effect.interval
    assert max(abs(ends.low), abs(ends.high)) == 0.5
    assert re.search(r"to 100.%\)" if wins else r"\(0.% to", html(made, tmp_path))


def test_shorter_answers_are_said_to_be_shorter(tmp_path: Path) -> None:
    made = preferred(comparison(8), 2, 30, 0, by_length=True)
    assert made.preference is not None and made.preference.length is not None
    assert made.preference.length.mean_difference < 0
    assert re.search(r"writes [0-9]+ characters less on average", html(made, tmp_path))


def test_flips_in_more_than_three_of_ten_pairs_withhold_the_verdict(tmp_path: Path) -> None:
    made = preferred(comparison(8), 60, 50, 10, flips=80)
    assert made.outcome == "withheld" and "80 (40 %) of the pairs" in made.headline
    assert preferred(comparison(8), 130, 10, 0, flips=60).outcome != "withheld"
    text = html(made, tmp_path)
    assert "the judge prefers what stands in one place" in text
    assert "lost the same share" not in text and "did not lose" not in text


@pytest.mark.parametrize(("wins", "losses", "ties"), [(0, 0, 20), (20, 0, 0), (0, 0, 0)])
def test_a_page_is_made_where_there_is_next_to_nothing_to_say(
    tmp_path: Path, wins: int, losses: int, ties: int
) -> None:
    made = preferred(comparison(8), wins, losses, ties)
    text = html(made, tmp_path) + summary_text(made)
    assert "nan" not in text.lower().replace("finance", "") and "None" not in text


@pytest.mark.slow
def test_of_thousands_of_prompts_the_extremes_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    text = html(preferred(comparison(8), 900, 600, 100), tmp_path)
    assert "the 1,200 in the middle are in comparison.json" in text
    assert text.count("How do I clean part") < 450 and len(text) < 2_000_000
