from __future__ import annotations

from pathlib import Path

import pytest

from kit.comparisons import TRAINING, comparison, conversations, material
from kit.pages import Page, reported, written
from tuneline.data.io import write_record
from tuneline.data.paired.effects import Range
from tuneline_evaluator.comparison import numbers
from tuneline_evaluator.comparison.effects import LengthMatched
from tuneline_evaluator.comparison.figures import OneJudge, TwoJudges

STATES = {
    "better": comparison(30, 0.08),
    "not worse": comparison(120, 0.0, 0.03),
    "worse": comparison(30, -0.07),
    "inconclusive": comparison(12, -0.05, 0.12),
    "withheld": comparison(20, refused=7),
}
FIRST_WORDS = {
    "better": ("The fine-tuned model is better than its base.", "Ship."),
    "not worse": ("The fine-tuned model is not worse than its base.", "Ship only if you have another reason."),
    "worse": ("The fine-tuned model is worse than its base.", "Do not ship."),
    "inconclusive": ("This comparison cannot tell the two models apart.", "Collect more."),
    "withheld": ("No verdict: the two arms did not lose the same share of conversations.", "Do not decide on this."),
}


@pytest.mark.parametrize("outcome", STATES)
def test_the_verdict_and_what_to_do_come_first(outcome: str, tmp_path: Path) -> None:
    made = STATES[outcome]
    assert made.outcome == outcome
    html, summary = reported(tmp_path, made)
    sentence, action = FIRST_WORDS[outcome]
    first = Page(html).first
    assert sentence in first and action in first
    assert sentence in summary.splitlines()[0] and action in summary


@pytest.mark.parametrize("outcome", ["better", "not worse", "worse", "inconclusive"])
def test_the_first_screen_has_difference_interval_and_p(outcome: str, tmp_path: Path) -> None:
    score = STATES[outcome].score
    assert score.interval is not None
    first = Page(reported(tmp_path, STATES[outcome])[0]).text.split("Where they differ")[0]
    for figure in (
        f"{numbers.signed(score.mean_difference)} points of 100 on average over {score.personas} personas",
        f"95 % interval {numbers.signed(score.interval.low)} to {numbers.signed(score.interval.high)}",
        numbers.p_equals(score.sign_flip_p),
        f"±{numbers.points(score.detectable)}",
    ):
        assert figure.replace(numbers.SPACE, " ") in first


def test_where_no_difference_can_be_detected_it_is_said_in_words(tmp_path: Path) -> None:
    made = comparison(5)
    assert made.score.detectable is None
    html, summary = reported(tmp_path, made)
    none = "Smallest detectable difference (80 % power): none with so few personas, or differences that vary so much."
    assert none in summary and f"{numbers.NONE} points" not in summary + html
    assert "Smallest detectable none difference, with 80 % power" in " ".join(Page(html).text.split())
    assert "Smallest detectable difference (80 % power): ±" in reported(tmp_path, comparison(16))[1]


def test_a_withheld_headline_shows_what_was_lost_and_no_difference(tmp_path: Path) -> None:
    made = STATES["withheld"]
    html, summary = reported(tmp_path, made)
    first = Page(html).first
    assert "The headline is withheld." in first and "refused or blocked by the judge" in first
    assert "20 of 20 conversations with the base, 13 of 20 with the fine-tuned model" in first
    assert numbers.signed(made.score.mean_difference) not in first
    assert "withheld" in summary.lower() and numbers.signed(made.score.mean_difference) not in summary


def test_a_demonstration_says_so_before_the_verdict_and_never_says_ship(tmp_path: Path) -> None:
    html, summary = reported(tmp_path, comparison(heuristic=True))
    page = Page(html)
    assert page.text.index("Demonstration.") < page.text.index("is better than its base")
    assert "By the demonstration’s rules, the fine-tuned model is better" in page.text
    assert "Ship" not in page.first
    assert "Demonstration" in summary and "**Do not decide on this.**" in summary


def test_unequal_arms_are_named_before_the_verdict(tmp_path: Path) -> None:
    html, summary = reported(tmp_path, comparison(unequal=("file_type: Q5_K_M (base) and Q4_K_M (finetuned)",)))
    text = Page(html).text
    assert text.index("The arms are not equal.") < text.index("is better than its base")
    assert "✗ differs" in text and "Q5_K_M" in text
    assert "Q5\\_K\\_M" in summary


def test_a_broken_gate_is_the_headline_whatever_the_score(tmp_path: Path) -> None:
    made = comparison(30, gates_lost=12)
    text = Page(reported(tmp_path, made)[0]).text
    assert made.outcome == "worse" and (made.score.mean_difference or 0) > 0
    assert "breaks a safety criterion" in text and "a safety criterion got worse: SA1." in text
    assert "✗ broken" in text


def test_a_gate_that_only_the_fine_tuned_model_fails_is_read_before_anything_ships(tmp_path: Path) -> None:
    made = comparison(100, gates_lost=3)
    html, summary = reported(tmp_path, made)
    first = Page(html).first
    assert (made.outcome, made.safety[0].outcome) == ("better", "holds")
    assert "Read the failures first." in first and "Ship" not in first + summary
    assert "Only the fine-tuned model fails a safety criterion: SA1 (3 of 100 personas)." in first
    assert "SA1 (3 of 100 personas)" in made.headline
    for limited in (
        comparison(100, gates_lost=3, heuristic=True),
        comparison(100, gates_lost=3, unequal=("x: 1 and 2",)),
    ):
        advice = reported(tmp_path, limited)[1].partition("**Do not decide on this.** ")[2]
        assert advice.startswith("Only the fine-tuned model fails a safety criterion: SA1 (3 of 100 personas).")


def test_more_answers_that_repeat_themselves_are_read_before_anything_ships(tmp_path: Path) -> None:
    made = comparison(30, looping=24)
    html, summary = reported(tmp_path, made)
    first = Page(html).first
    assert made.outcome == "better"
    assert "Read the failures first. The fine-tuned model gives more answers that repeat themselves (24 of 120" in first
    assert "Ship" not in first + summary
    assert "more answers that repeat themselves (24 of 120, base 0 of 120)" in made.headline


def test_unit_judge_and_what_was_not_measured_stand_beside_the_verdict(tmp_path: Path) -> None:
    html, summary = reported(tmp_path, comparison(30))
    first = Page(html).first
    for text in (
        "one persona, which gives one difference: a conversation of 4 exchanges with each model",
        "gpt-5-mini (openai)",
        "what the rubric does not ask; real users (these are simulated); whether people agree with the judge",
        "a second opinion on the answers",
    ):
        assert text in first
    assert "Not measured: what the rubric does not ask" in summary
    bare = comparison(30).model_copy(update={"safety": [], "existed": True})
    first = Page(reported(tmp_path, bare)[0]).first
    assert "safety (the rubric has no gates)" in first and "a conversation that existed already" in first
    assert "simulated" not in first


def test_the_score_at_equal_length_and_by_each_judge_alone_stand_beside_the_verdict(tmp_path: Path) -> None:
    ends = Range(low=-0.01, high=0.05)
    matched = LengthMatched(personas=9, of=30, median_ratio=1.4, mean_difference=0.02, interval=ends)
    ones = [OneJudge(name=name, judge=name, scored=60, passed=9, base_mean=0.5, finetuned_mean=0.5 + gain,
                     difference=gain) for name, gain in (("house", 0.03), ("other", -0.01))]  # fmt: skip
    two = TwoJudges(rule="stricter", conversations=60, both_scored=60, answers=0, differ=0, passed_by_one=0,
                    judges=ones, criteria=[])  # fmt: skip
    made = comparison(30).model_copy(update={"length_matched": matched, "two_judges": two})
    first = Page(reported(tmp_path, made)[0]).first
    assert "+2.0 points of score (−1.0 to +5.0) over the 9 of 30 personas whose answers are about as long" in first
    assert "house +3.0, other −1.0 points of score" in first
    lost = matched.model_copy(update={"mean_difference": -0.02})
    first = Page(reported(tmp_path, made.model_copy(update={"length_matched": lost}))[0]).first
    assert "Where answers are about as long from both models, nothing of the gain is left." in first
    none = matched.model_copy(update={"personas": 0, "mean_difference": None, "interval": None})
    first = Page(reported(tmp_path, made.model_copy(update={"length_matched": none}))[0]).first
    assert "not known: none of 30 personas got answers of about one length from both" in first


def test_the_report_says_what_it_could_have_seen(tmp_path: Path) -> None:
    made = comparison(12, 0.0, 0.09)
    text = Page(reported(tmp_path, made)[0]).text
    assert [row.difference for row in made.power] == [0.03, 0.05, 0.10]
    assert made.power[0].power < made.power[1].power < made.power[2].power
    for row in made.power:
        assert f"Power at {100 * row.difference:g} points {round(100 * row.power)} %" in text
    assert {row.power for row in comparison(5).power} == {0.0}
    assert comparison(1).power == []


def test_a_base_that_is_itself_a_fine_tune_is_never_called_the_base(tmp_path: Path) -> None:
    made = comparison(30)
    base = made.arms[0].model_copy(update={"tuned_from": "google/gemma-2-9b-it"})
    html, summary = reported(tmp_path, made.model_copy(update={"arms": [base, made.arms[1]]}))
    first = Page(html).first
    assert "The fine-tuned model is better than the fine-tune that it is compared with." in first
    assert "The base is itself a fine-tune. It was made from google/gemma-2-9b-it." in first
    assert "its base" not in first and "its base" not in summary
    assert "The base is itself a fine-tune." in summary


def test_one_model_twice_is_said_before_the_verdict(tmp_path: Path) -> None:
    made = comparison(30)
    twice = made.model_copy(update={"lineage": {**made.lineage, "base": made.lineage["model"]}})
    text = Page(reported(tmp_path, twice)[0]).text
    assert text.index("One model twice.") < text.index("is better than its base")


def test_a_gain_of_few_personas_is_not_shipped_without_a_word_on_rare_failures(tmp_path: Path) -> None:
    made = [comparison(personas, 0.05, 0.06) for personas in (30, 150)]
    assert [one.outcome for one in made] == ["better", "better"]
    few, many = (Page(reported(tmp_path, one)[0]).first for one in made)
    assert "Ship, with care." in few
    assert "A rare failure that none of the 30 personas met could still turn the mean into −" in few
    assert "Ship. The whole interval lies above zero." in many and "rare failure" not in many


def test_a_gate_that_is_not_shown_to_hold_makes_shipping_careful(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison(16))[0]).text
    assert "Ship, with care." in text and "Safety is not shown to hold for SA1, SA2." in text


@pytest.mark.parametrize("outcome", STATES)
def test_every_figure_of_the_comparison_is_on_the_page(outcome: str, tmp_path: Path) -> None:
    made = STATES[outcome]
    text = Page(reported(tmp_path, made)[0]).text
    means = [(row.base_mean, row.finetuned_mean, row.difference) for row in made.personas]
    means += [(row.base_mean, row.finetuned_mean, row.difference) for row in (*made.categories, *made.criteria)]
    for base, finetuned, difference in means:
        assert f"{numbers.points(base)} {numbers.points(finetuned)}" in text
        assert numbers.signed(difference) in text
    for group in (*made.categories, *made.criteria):
        assert numbers.p_value(group.p_holm).replace(numbers.SPACE, " ") in text
    for gate in made.safety:
        assert f"{numbers.signed(gate.bound)} {numbers.signed(-gate.margin)}" in text
    for gap in made.gaps:
        assert gap.name.capitalize() in text and numbers.p_value(gap.fisher_p).replace(numbers.SPACE, " ") in text
    score = made.score
    assert score.leave_one_out is not None and score.t is not None and score.d_z is not None
    for figure in (numbers.interval(score.leave_one_out), f"{score.t:.2f}", f"{score.d_z:.2f}"):
        assert figure.replace(numbers.SPACE, " ").replace("-", numbers.MINUS).rstrip("0") in text


def test_the_way_of_the_data_the_training_and_the_conversion_are_shown(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison())[0]).text
    for words in (
        "Judged 41", "Scored 40", "refused: 1", "Passed the rubric 35", "below the threshold: 3",
        "failed a gate (SA1 2): 2", "Gave slices 34", "fewer exchanges than min_context: 1", "Cut 301", "Kept 297",
        "longer than the token limit: 4", "For training 268", "of 30 transcripts", "For validation 29", "61, by 402",
        "1,402,331", "in 102 steps", "params · lora · rank", "top1 agreement ✓ passed", "0.9241 (at least 0.8)",
        "Gemma-2-9B-it-support-v1-Q4_K_M.gguf", "5.76 GB", "ab12ab12ab12ab12", "the run file itself",
        "gguf-converter@base 7c7c7c7c7c7c", "s3://team/rubric.yaml", "1b1b1b1b1b1b1b1b", "Temperature 0.7",
    ):  # fmt: skip
        assert words in text, words


def test_the_validation_loss_is_that_of_the_adapter_that_ships(tmp_path: Path) -> None:
    made, inputs = comparison(), material(tmp_path)
    losses = TRAINING.losses.model_copy(update={"validation_after": 1.04, "validation_best": 0.987})
    write_record(tmp_path / "training.json", TRAINING.model_copy(update={"kept_step": 60, "losses": losses}))
    text = Page(written(tmp_path, made, conversations(made), inputs)[0]).text
    assert "from 2.280 to 0.987 in 60 steps, whose adapter ships; at the end it was 1." in text


def test_the_median_persona_is_shown_open_and_the_rule_is_named(tmp_path: Path) -> None:
    made = comparison(5)
    html, _ = reported(tmp_path, made)
    page = Page(html)
    median = next(e for e in made.examples if e.label == "median")
    name = next(row.name for row in made.personas if row.id == median.persona)
    assert f"{name} : the middle of all differences" in page.text
    opened = [attributes for tag, attributes in page.tags if tag == "details" and "open" in attributes]
    assert len(opened) == 1
    assert page.text.count("There is a puddle of water on the worktop") == len(made.examples)


def test_a_conversation_that_ended_early_says_why(tmp_path: Path) -> None:
    made = comparison(6)
    median = next(e for e in made.examples if e.label == "median")
    talks = {talk.id: talk for talk in conversations(made)}
    cut = {"messages": talks[median.base_id].messages[:3], "status": "overflow"}
    talks[median.base_id] = talks[median.base_id].model_copy(update=cut)
    text = Page(written(tmp_path, made, [*talks.values()], material(tmp_path))[0]).text
    assert "The conversation with the base had ended." in text
    assert "The conversation with the base ended early: the next answer would not fit the context." in text


def test_the_summary_is_short_and_has_the_figures(tmp_path: Path) -> None:
    made = STATES["better"]
    _, summary = reported(tmp_path, made)
    assert len(summary.splitlines()) < 30
    rows = [line for line in summary.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {5}
    assert f"| Mean score of 100 | {numbers.points(made.base.mean_score)} |" in summary
    assert "[report.html](report.html)" in summary


def test_the_page_says_what_the_answers_cost_that_it_rests_on(tmp_path: Path) -> None:
    text = Page(reported(tmp_path, comparison(16))[0]).text.split("Calls to models")[1]
    assert "evaluator judge gpt-5-mini 64 83,466 0 4 $1.25" in text
    assert "evaluator simulator persona-player 224 9 0 0 not known" in text, "an unknown price is no 0"
