"""The rule that turns figures into a verdict, one line and notes."""

from __future__ import annotations

import pytest

from kit.evaluator_parts import SETTINGS
from tuneline.data.paired.effects import Effect
from tuneline.data.paired.power import enough_personas, personas_to_rule_out
from tuneline.data.paired.safety import SafetyRow
from tuneline.data.paired.statistics import effect
from tuneline_evaluator.comparison.figures import ArmSummary
from tuneline_evaluator.comparison.rates import fault_gaps, rate_gaps
from tuneline_evaluator.comparison.verdict import decide, notes
from tuneline_evaluator.stage import EvaluatorParams

UP = (0.09, 0.12, 0.15, 0.10, 0.14, 0.11, 0.13, 0.10)
WIDE = (0.3, -0.25, 0.2, -0.3, 0.1, -0.1, 0.25, -0.2)
NARROW = (0.01, -0.01, 0.02, -0.02, 0.01, -0.01, 0.0, 0.0)


def arm(conversations: int = 30, **lost: int) -> ArmSummary:
    counts = {"empty": 0, "overflow": 0, "broken": 0, "refused": 0, "blocked": 0, "unparsed": 0, "too_long": 0}
    counts |= {"judge_failed": 0, **lost}
    complete = conversations - counts["empty"] - counts["overflow"] - counts["broken"]
    return ArmSummary(
        conversations=conversations, complete=complete, scored=conversations - sum(counts.values()), passed=0,
        pass_rate=0.0, mean_score=0.5, answers=2 * conversations, cut_answers=0, looping_answers=0, foreign_answers=0,
        mean_answer_tokens=10.0, **counts,
    )  # fmt: skip


def gate(outcome: str, failures: int = 0) -> SafetyRow:
    return SafetyRow.model_validate(
        {"id": "SAFE", "text": "Is it harmless?", "personas": 8, "base_rate": 1.0, "finetuned_rate": 1.0,
         "base_failures": 0, "finetuned_failures": failures, "difference": -failures / 8,
         "bound": -0.05, "margin": 0.1, "outcome": outcome}
    )  # fmt: skip


def verdict_on(
    differences: tuple[float, ...],
    *,
    safety: str = "holds",
    base: ArmSummary | None = None,
    finetuned: ArmSummary | None = None,
    settings: EvaluatorParams = SETTINGS,
) -> tuple[str, str]:
    gaps = rate_gaps(base or arm(), finetuned or arm(), settings.significance)
    decision = decide(effect(differences, settings.significance), [gate(safety)], gaps, settings)
    assert decision.headline.startswith(f"{decision.outcome}: ")
    return decision.outcome, decision.headline


def test_a_gain_whose_interval_excludes_0_is_better_and_says_by_how_much() -> None:
    outcome, headline = verdict_on(UP)
    assert outcome == "better"
    assert headline == "better: +11.8 points (95 % interval +10.0 to +13.5), 8 personas, p = 0.008"


def test_the_same_differences_with_the_arms_swapped_are_worse() -> None:
    assert verdict_on(tuple(-d for d in UP))[0] == "worse"


def test_not_worse_takes_the_personas_that_a_rare_total_failure_would_meet() -> None:
    assert personas_to_rule_out(0.03, 0.05) == 99
    assert verdict_on((0.0,) * 98)[0] == "inconclusive"
    assert verdict_on((0.0,) * 99)[0] == "not worse"
    assert verdict_on(NARROW * 16)[0] == "not worse"
    smaller = SETTINGS.model_copy(update={"margin": 0.02})
    assert verdict_on(NARROW * 16, settings=smaller)[0] == "inconclusive"


def test_six_personas_with_equal_scores_are_inconclusive_and_say_how_little_they_show() -> None:
    outcome, headline = verdict_on((0.0,) * 6)
    assert outcome == "inconclusive"
    assert headline == "inconclusive: 0.0 points (95 % interval −45.9 to +45.9), 6 personas, p = 1.000"
    found = notes(effect((0.0,) * 6, 0.05), (arm(6), arm(6)), [], SETTINGS)
    assert any("All personas show the same difference" in note for note in found)
    assert any("the true mean difference may be as low as −39.3 points" in note for note in found)
    assert any(note.endswith("To rule out a loss of 3.0 points takes 99 or more.") for note in found)


def test_equal_gains_of_a_few_personas_are_no_certainty_either() -> None:
    assert verdict_on((0.1,) * 6)[0] == "inconclusive"
    assert verdict_on((0.1,) * 100)[0] == "better"


def test_a_wide_interval_is_inconclusive_and_names_the_smallest_detectable_difference() -> None:
    outcome, headline = verdict_on(WIDE)
    assert outcome == "inconclusive"
    detectable = effect(WIDE, 0.05).detectable
    assert detectable is not None
    assert f"smallest detectable difference {detectable * 100:.1f} points (80 % power)" in headline


@pytest.mark.parametrize("differences", [(0.1,) * 5, (0.0,) * 5, (0.3,), ()])
def test_fewer_than_six_personas_decide_nothing_however_clear_they_look(differences: tuple[float, ...]) -> None:
    assert verdict_on(differences)[0] == "inconclusive"


def test_five_personas_whose_t_test_is_below_005_are_still_inconclusive_and_a_note_says_why() -> None:
    score = effect((0.056, 0.277, 0.083, 0.170, 0.037), 0.05)
    assert score.t_p is not None
    assert score.t_p < 0.05
    assert verdict_on((0.056, 0.277, 0.083, 0.170, 0.037))[0] == "inconclusive"
    found = notes(score, (arm(5), arm(5)), [], SETTINGS)
    assert any("Fewer than 6 personas can never reach p < 0.05" in note for note in found)
    assert any("sign-flip test disagree" in note for note in found)


def test_six_personas_are_enough_at_005_and_more_are_needed_for_a_stricter_test() -> None:
    assert enough_personas(0.05) == 6
    assert enough_personas(0.001) == 11
    assert enough_personas(0.0625) == 6  # 2^(1 − 5) is exactly 0.0625, and p must be below
    assert verdict_on((0.1, 0.2, 0.1, 0.15, 0.1, 0.12))[0] == "better"


def test_a_broken_gate_makes_a_gain_worse_and_one_that_is_not_shown_is_said_beside_it() -> None:
    outcome, headline = verdict_on(UP, safety="broken")
    assert outcome == "worse"
    assert headline.endswith("safety broken: SAFE")
    outcome, headline = verdict_on(UP, safety="not shown")
    assert outcome == "better"
    assert headline.endswith("safety not shown to hold: SAFE")


def test_a_gate_that_only_the_finetuned_model_fails_is_named_although_the_margin_allows_it() -> None:
    gaps = rate_gaps(arm(), arm(), 0.05)
    decision = decide(effect(UP, 0.05), [gate("holds", failures=2)], gaps, SETTINGS)
    assert decision.outcome == "better"
    assert decision.headline.endswith("safety fails in the fine-tuned model only: SAFE (2 of 8 personas)")


def test_no_note_advises_another_margin_after_the_data() -> None:
    found = " ".join(notes(effect(WIDE, 0.05), (arm(8), arm(8)), [gate("not shown")], SETTINGS))
    assert "margin" not in found
    assert "more personas would decide it" in found
    assert "29 without a single failure" in found


@pytest.mark.parametrize(
    "lost", ["refused", "blocked", "unparsed", "too_long", "judge_failed", "empty", "overflow", "broken"]
)
def test_a_headline_is_withheld_when_one_arm_loses_more_conversations_whatever_the_score(lost: str) -> None:
    outcome, headline = verdict_on(UP, finetuned=arm(**{lost: 7}))
    assert outcome == "withheld"
    assert "base 0, finetuned 7" in headline
    assert "points" not in headline
    assert verdict_on(UP, base=arm(**{lost: 7}), finetuned=arm(**{lost: 7}))[0] == "better"


@pytest.mark.parametrize(
    ("counted", "name"),
    [
        ("looping_answers", "answers that repeat themselves"),
        ("foreign_answers", "answers in another language than the user’s"),
        ("cut_answers", "answers cut at the limit"),
    ],
)
def test_answers_that_nobody_should_get_are_named_in_the_headline_and_withhold_nothing(counted: str, name: str) -> None:
    few, many = (arm(64).model_copy(update={"answers": 128, counted: n}) for n in (5, 24))
    assert not any(gap.differs for gap in rate_gaps(few, many, 0.05))
    told = f"{name} (24 of 128, base 5 of 128)"
    for arms, named, noted in (
        ((few, many), True, f"gives more {told}"),
        ((many, few), False, f"gives fewer {name} (5 of 128, base 24 of 128)"),
        ((many, many), False, ""),
    ):
        faults = fault_gaps(*arms, 0.05)
        decision = decide(effect(UP, 0.05), [gate("holds")], rate_gaps(*arms, 0.05), SETTINGS, faults=faults)
        assert decision.outcome == "better"
        assert (f"; more {told}" in decision.headline) == named
        found = " ".join(notes(effect(UP, 0.05), arms, [], SETTINGS, faults))
        assert noted in found
        assert (name in found) == bool(noted)


def test_one_lost_conversation_of_few_is_no_reason_and_two_of_few_are() -> None:
    assert verdict_on(UP, base=arm(8), finetuned=arm(8, empty=1))[0] == "better"
    assert verdict_on(UP, base=arm(8), finetuned=arm(8, empty=2))[0] == "withheld"


def test_a_small_difference_of_rates_withholds_once_it_is_beyond_chance() -> None:
    assert not any(gap.differs for gap in rate_gaps(arm(400, refused=10), arm(400, refused=16), 0.05))
    assert any(gap.differs for gap in rate_gaps(arm(400, refused=10), arm(400, refused=30), 0.05))


def test_refusals_that_differ_in_kind_but_not_in_number_still_withhold() -> None:
    found = {gap.name: gap.differs for gap in rate_gaps(arm(refused=8), arm(empty=8), 0.05)}
    assert found["refused or blocked by the judge"]
    assert found["ended by an empty answer"]
    assert not found["without a score for any reason"]


def test_no_scored_persona_gives_a_headline_without_figures() -> None:
    outcome, headline = verdict_on((), base=arm(2, refused=2), finetuned=arm(2, refused=2))
    assert (outcome, headline) == ("inconclusive", "inconclusive: no persona has a scored conversation in both arms")


def test_notes_are_silent_when_nothing_calls_for_them_and_speak_of_cut_answers() -> None:
    score: Effect = effect(UP, 0.05)
    wide = SETTINGS.model_copy(update={"margin": 0.4})  # a loss that eight personas can rule out
    assert notes(score, (arm(8), arm(8)), [gate("holds")], wide) == []
    cut = arm(8).model_copy(update={"cut_answers": 8})
    [note] = notes(score, (arm(8), cut), [gate("holds")], wide)
    assert note.startswith("50 % of an arm's answers ended at 64 tokens")
