"""From verdicts to rows: what is averaged over what, and what never enters a mean."""

from __future__ import annotations

import pytest

from kit.evaluator_parts import answers, personas, talked
from kit.judge_parts import SHORT_RUBRIC as RUBRIC
from tuneline.data.text.words import loops
from tuneline_evaluator.comparison.scores import (
    JudgedConversation,
    arm_summary,
    category_rows,
    criterion_rows,
    paired_examples,
    pairs,
    persona_rows,
    safety_rows,
    score,
    scored_of,
)

ALL, HALF, NONE = answers(RUBRIC), answers(RUBRIC, "POLITE"), answers(RUBRIC, "POLITE", "ASKS")


def two_personas() -> list[JudgedConversation]:
    return [
        talked("person-00", "base", RUBRIC, NONE),
        talked("person-00", "base", RUBRIC, HALF, trial=1),
        talked("person-00", "base", RUBRIC, ALL, trial=2),
        talked("person-00", "finetuned", RUBRIC, ALL),
        talked("person-01", "base", RUBRIC, HALF),
        talked("person-01", "finetuned", RUBRIC, HALF),
    ]


def test_trials_are_averaged_before_personas_so_a_persona_with_more_trials_counts_once() -> None:
    found = pairs(scored_of(two_personas()), score)
    assert [(pair.persona, pair.base, pair.finetuned) for pair in found] == [
        ("person-00", 0.5, 1.0),
        ("person-01", 0.5, 0.5),
    ]
    assert [pair.difference for pair in found] == [0.5, 0.0]


@pytest.mark.parametrize("status", ["refused", "blocked", "unparsed", "too_long", "failed"])
def test_a_status_other_than_scored_enters_no_mean_and_is_not_a_score_of_0(status: str) -> None:
    judged = two_personas()
    judged[0] = talked("person-00", "base", RUBRIC, None, status=status)  # type: ignore[arg-type]
    assert pairs(scored_of(judged), score)[0].base == 0.75
    summary = arm_summary(judged, "base")
    assert (summary.conversations, summary.scored) == (4, 3)
    assert summary.refused + summary.blocked + summary.unparsed + summary.too_long + summary.judge_failed == 1


def test_a_gate_that_applied_to_no_conversation_holds_for_nobody() -> None:
    judged = [
        JudgedConversation(talk, verdict and verdict.model_copy(update={"answers": {"POLITE": "YES", "ASKS": "YES"}}))
        for talk, verdict in two_personas()
    ]
    [gate] = safety_rows(scored_of(judged), RUBRIC, 0.05, 0.05)
    assert (gate.personas, gate.outcome) == (0, "not shown")


def test_a_persona_without_a_scored_conversation_in_one_arm_has_a_row_and_no_difference() -> None:
    judged = two_personas()
    judged[3] = talked("person-00", "finetuned", RUBRIC, None, ended="empty")
    assert [pair.persona for pair in pairs(scored_of(judged), score)] == ["person-01"]
    row = persona_rows(scored_of(judged), personas(2))[0]
    assert (row.base_mean, row.finetuned_mean, row.difference, row.base_trials, row.finetuned_trials) == (
        0.5,
        None,
        None,
        3,
        0,
    )


def test_an_arm_is_summed_up_by_what_became_of_its_conversations() -> None:
    judged = [
        talked("a", "base", RUBRIC, ALL),
        talked("b", "base", RUBRIC, HALF),
        talked("c", "base", RUBRIC, answers(RUBRIC, "SAFE")),
        talked("d", "base", RUBRIC, None, ended="empty"),
        talked("e", "base", RUBRIC, None, ended="overflow"),
        talked("f", "base", RUBRIC, None, ended="broken"),
        talked("a", "finetuned", RUBRIC, ALL),
    ]
    summary = arm_summary(judged, "base")
    assert (summary.conversations, summary.complete, summary.empty, summary.overflow, summary.broken) == (6, 3, 1, 1, 1)
    assert (summary.scored, summary.passed) == (3, 1)
    assert summary.pass_rate == pytest.approx(1 / 3)
    assert summary.mean_score == pytest.approx((1 + 0.5 + 1) / 3)


def test_categories_and_criteria_are_tested_over_personas_and_adjusted_within_their_kind() -> None:
    judged = [
        talked(persona.id, arm, RUBRIC, ALL if arm == "finetuned" else answers(RUBRIC, "POLITE", na=["ASKS"]))
        for persona in personas(6)
        for arm in ("base", "finetuned")
    ]
    manner, matter = category_rows(scored_of(judged), RUBRIC)
    assert (manner.id, manner.base_mean, manner.finetuned_mean, manner.difference) == ("manner", 0.0, 1.0, 1.0)
    assert (manner.p, manner.p_holm) == (2 / 64, 4 / 64)
    assert (matter.difference, matter.p, matter.p_holm) == (0.0, 1.0, 1.0)
    polite, asks = criterion_rows(scored_of(judged), RUBRIC)
    assert (polite.id, polite.category, polite.p_holm) == ("POLITE", "manner", 4 / 64)
    assert (asks.base_mean, asks.difference) == (1.0, 0.0)  # NA is met


def test_rows_without_any_pair_have_no_figures() -> None:
    judged = [talked("a", "base", RUBRIC, ALL)]
    assert {
        row.p_holm for row in [*category_rows(scored_of(judged), RUBRIC), *criterion_rows(scored_of(judged), RUBRIC)]
    } == {None}
    [safe] = safety_rows(scored_of(judged), RUBRIC, 0.1, 0.05)
    assert (safe.personas, safe.bound, safe.outcome) == (0, None, "not shown")


@pytest.mark.parametrize(
    ("count", "lost", "outcome"),
    [
        (30, 0, "holds"),
        (12, 0, "not shown"),
        (30, 1, "not shown"),
        (30, 5, "not shown"),
        (30, 6, "broken"),
        (100, 3, "holds"),
        (100, 6, "broken"),
    ],
)
def test_a_gate_holds_when_its_bound_is_above_the_margin(count: int, lost: int, outcome: str) -> None:
    judged = [talked(persona.id, "base", RUBRIC, ALL) for persona in personas(count)]
    judged += [
        talked(persona.id, "finetuned", RUBRIC, answers(RUBRIC, "SAFE") if number < lost else ALL)
        for number, persona in enumerate(personas(count))
    ]
    [safe] = safety_rows(scored_of(judged), RUBRIC, 0.1, 0.05)
    assert safe.base_rate == 1.0
    assert safe.difference == pytest.approx(-lost / count)
    assert safe.outcome == outcome


def test_one_unsafe_trial_makes_a_persona_unsafe() -> None:
    judged = [*two_personas(), talked("person-01", "finetuned", RUBRIC, answers(RUBRIC, "SAFE"), trial=1)]
    [safe] = safety_rows(scored_of(judged), RUBRIC, 0.1, 0.05)
    assert (safe.base_rate, safe.finetuned_rate) == (1.0, 0.5)


def test_examples_are_the_largest_gain_the_median_and_the_largest_loss() -> None:
    judged = []
    for number, (base, finetuned) in enumerate([(HALF, ALL), (ALL, NONE), (HALF, HALF), (NONE, ALL), (ALL, HALF)]):
        judged += [talked(f"p{number}", "base", RUBRIC, base), talked(f"p{number}", "finetuned", RUBRIC, finetuned)]
    found = {example.label: (example.persona, example.difference) for example in paired_examples(scored_of(judged))}
    assert found == {"largest gain": ("p3", 1.0), "median": ("p2", 0.0), "largest loss": ("p1", -1.0)}
    assert [e.label for e in paired_examples(scored_of(judged[:2]))] == ["largest gain"]
    assert paired_examples([]) == []


@pytest.mark.parametrize(
    ("answer", "looping"),
    [
        ("🌳" * 40, True),
        ("You have to clean it. " * 12, True),
        ("No. " * 3, False),  # too short to tell
        ("", False),
        ("That explains the puddle. Please rinse the float under warm water until it moves, then put it back.", False),
        (
            "1. Remove the drip tray.\n2. Empty the drip tray.\n3. Clean it.\n4. Put the drip tray back.",
            False,
        ),
    ],
)
def test_an_answer_loops_when_hardly_anything_is_left_of_it_without_its_repetitions(answer: str, looping: bool) -> None:
    assert loops(answer) == looping
