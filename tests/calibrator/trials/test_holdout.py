"""What may be said of the winner: chosen on some pairs, told on others, and never more than they show."""

from __future__ import annotations

import random

import pytest

from tuneline.errors import UserError
from tuneline_calibrator.trials.holdout import chosen, split, verdict


def totals(*values: float) -> dict[str, float]:
    return {f"p{n}": value for n, value in enumerate(values)}


def test_four_pairs_cannot_show_anything_however_much_they_gain() -> None:
    found = verdict([totals(0.9, 0.8, 0.9, 0.8), totals(0.1, 0.2, 0.1, 0.1)], [{}, {}])
    assert found.word == "cannot be shown" and found.p == 0.125 and "under 6 pairs" in found.told()


@pytest.mark.parametrize("pairs", [1, 2, 5, 6, 14, 40])
def test_equal_totals_leave_the_first_prompt_as_the_best(pairs: int) -> None:
    found = verdict([totals(*[0.4] * pairs)] * 3, [{}] * 3)
    assert (found.word, found.p, found.difference) == ("the first prompt", 1.0, 0.0)
    assert found.told().startswith("No better than where we began")


def test_a_single_pair_can_be_calibrated_and_shows_nothing() -> None:
    found = verdict([totals(0.5), totals(0.2)], [{}, {}])
    assert (found.word, found.pairs, found.low) == ("cannot be shown", 1, None)


def test_the_same_gain_on_six_pairs_is_not_told_with_an_interval_that_has_no_width() -> None:
    found = verdict([totals(*[0.5] * 6), totals(*[0.4] * 6)], [{}, {}])
    assert found.low is not None and found.high is not None and found.low < -0.2 and found.high > 0
    assert found.word == "no better", "six differences without any spread are no certainty"
    assert "not shown to be better than where we began" in found.told()


def test_a_gain_on_eight_pairs_is_better() -> None:
    found = verdict([totals(*[0.5] * 8), totals(*(0.3 + n / 100 for n in range(8)))], [{}, {}])
    assert (found.word, found.basis) == ("better", "leave_one_out") and found.high is not None and found.high < 0


def test_held_out_pairs_decide_what_is_said_and_not_which_prompt_wins() -> None:
    training = [totals(0.5, 0.5), totals(0.2, 0.2), totals(0.3, 0.3)]
    held = [{f"h{n}": 0.3 + n / 100 for n in range(8)}, {f"h{n}": 0.5 + n / 50 for n in range(8)}, {}]
    found = verdict(training, held)
    assert (found.basis, found.word, found.pairs) == ("held_out", "worse", 8)


def test_without_a_pair_that_has_both_prompts_nothing_is_said() -> None:
    found = verdict([totals(0.5), totals(0.2)], [{"a": 0.5}, {"b": 0.1}])
    assert (found.word, found.pairs) == ("cannot be shown", 0) and "no pair was scored" in found.told()


def test_a_trial_that_lost_its_hardest_pair_is_not_the_better_for_it() -> None:
    assert chosen([{"easy": 0.2, "hard": 0.8}, {"easy": 0.3}]) == 0


@pytest.mark.slow
def test_prompts_that_differ_by_chance_alone_are_seldom_called_better() -> None:
    chance, better = random.Random(0), 0
    for _ in range(25):
        held = [{f"h{n}": chance.random() for n in range(8)} for _ in range(4)]
        training = [totals(*(chance.random() for _ in range(6))) for _ in range(4)]
        better += verdict(training, held).word == "better"
    assert better <= 3, "5 % and chance"


def test_pairs_are_held_out_by_name_or_by_number() -> None:
    names = ["ash", "elm", "oak", "yew"]
    assert split(names, 0, 0) == set() and split(names, ("oak",), 0) == {"oak"}
    assert len(split(names, 3, 1)) == 3 and split(names, 2, 7) == split([*reversed(names)], 2, 7)


@pytest.mark.parametrize(
    ("held_out", "said"),
    [
        (-1, "cannot be held out"),
        (4, "all 4 pairs"),
        (9, "all 4 pairs"),
        (("okk",), "oak"),
        (("a\x1b[31m",), "no pair"),
    ],
)
def test_what_cannot_be_held_out_is_refused(held_out: int | tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said) as e:
        split(["ash", "elm", "oak", "yew"], held_out, 0)
    assert "\x1b" not in str(e.value)
