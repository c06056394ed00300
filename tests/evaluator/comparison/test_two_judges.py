"""Where two judges differ, in figures and in the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.comparisons import comparison
from kit.evaluator_parts import answers, talked
from kit.judge_parts import SHORT_RUBRIC
from kit.pages import Page, reported
from kit.two_judges import TWO_RUBRIC, judged_by_two
from tuneline.data.conversations import Arm
from tuneline.data.text.rules import Answer
from tuneline.data.verdicts import Status
from tuneline_evaluator.comparison.compare import about_both
from tuneline_evaluator.comparison.figures import TwoJudges
from tuneline_evaluator.comparison.two_judges import two_judges

Said = dict[str, Answer] | Status


def mild(number: int, arm: Arm) -> Said:
    """Finds that only the base does not ask back."""
    return answers(TWO_RUBRIC, *(["ASKS"] if arm == "base" else []))


def strict(number: int, arm: Arm) -> Said:
    """Finds that only the fine-tuned model is impolite, and refuses one conversation."""
    if (number, arm) == (0, "base"):
        return "refused"
    return answers(TWO_RUBRIC, *(["POLITE"] if arm == "finetuned" else []))


def found() -> TwoJudges:
    two = two_judges(judged_by_two(4, mild, strict), TWO_RUBRIC)
    assert two is not None
    return two


def test_each_judge_alone_is_shown_with_what_it_found() -> None:
    two = found()
    assert (two.conversations, two.both_scored, two.answers) == (8, 7, 21)
    assert two.differ == 3 + 4, "ASKS of three bases that both scored, POLITE of four"
    first, second = two.judges
    assert (first.name, first.judge, first.scored) == ("mild", "gpt-5-mini", 8)
    assert (second.name, second.judge, second.scored) == ("strict", "claude-haiku-4-5", 7)
    assert (first.difference, second.difference) == (0.5, -0.5)


def test_the_most_disputed_criterion_stands_first_and_says_who_is_stricter() -> None:
    rows = {row.id: row for row in found().criteria}
    assert list(rows) == ["POLITE", "ASKS", "SAFE"]
    assert [(row.differ, row.first_stricter) for row in rows.values()] == [(4, 0), (3, 3), (0, 0)]


def test_judges_that_contradict_each_other_are_a_note() -> None:
    direction, unscored = about_both(found())
    assert direction == (
        "The two judges do not agree which model is better: mild alone finds +50.0 points and strict alone \u221250.0."
    )
    assert unscored == "1 of 8 judged conversations have no score, as one of the two judges gave none."
    alike = two_judges(judged_by_two(4, mild, mild), TWO_RUBRIC)
    assert alike is not None and list(about_both(alike)) == [] and alike.differ == 0


def test_one_judge_has_nobody_to_differ_from() -> None:
    assert two_judges([talked("p", "base", SHORT_RUBRIC, answers(SHORT_RUBRIC))], SHORT_RUBRIC) is None


def test_a_judge_that_scored_nothing_leaves_no_figure() -> None:
    two = two_judges(judged_by_two(3, mild, lambda number, arm: "refused"), TWO_RUBRIC)
    assert two is not None
    assert (two.both_scored, two.answers, two.criteria, two.judges[1].difference) == (0, 0, [], None)


@pytest.mark.parametrize("rule", ["stricter", "mean"])
def test_the_report_shows_the_disagreement(tmp_path: Path, rule: str) -> None:
    made = comparison().model_copy(update={"two_judges": found().model_copy(update={"rule": rule})})
    text = Page(reported(tmp_path, made)[0]).text
    part = text[text.index("Where the two judges differ") :].split("Safety and losses")[0]
    assert "both judged 8 conversations, and both scored 7 of them" in part
    assert "different answers to 7 (33.3 %) of the questions" in part
    assert ("the means of both" if rule == "mean" else "the stricter answer of both counts") in part
    assert part.index("POLITE") < part.index("ASKS") < part.index("SAFE")
    assert "claude-haiku-4-5" in part and "+50.0" in part and "\u221250.0" in part


def test_a_report_of_one_judge_does_not_speak_of_two(tmp_path: Path) -> None:
    assert "two judges" not in Page(reported(tmp_path, comparison())[0]).text


def test_a_report_where_a_judge_scored_nothing_can_be_read(tmp_path: Path) -> None:
    two = two_judges(judged_by_two(3, mild, lambda number, arm: "blocked"), TWO_RUBRIC)
    made = comparison().model_copy(update={"two_judges": two})
    text = Page(reported(tmp_path, made)[0]).text
    assert "both scored 0 of them" in text and "of the questions" not in text
