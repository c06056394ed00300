from __future__ import annotations

import random
from math import log10

import numpy as np
import pytest

from tuneline.data.paired.planning import detectable_shift
from tuneline.data.paired.statistics import detectable_preference, effect
from tuneline_evaluator.comparison.bradley_terry import gap, gap_of, ratings, sign_test
from tuneline_evaluator.comparison.verdict import by_score


def scores(wins: int, losses: int, ties: int = 0) -> list[float]:
    return [1.0] * wins + [0.0] * losses + [0.5] * ties


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "p", "apart", "ends"),
    [
        (126, 74, 0, 0.0003, 92.5, (41.9, 143.1)),
        (90, 60, 50, 0.0176, 52.5, (12.2, 96.2)),
        (10, 10, 0, 1.0, 0.0, (-147, 147)),
    ],
)
def test_the_gap_and_its_bootstrap_interval(
    wins: int, losses: int, ties: int, p: float, apart: float, ends: tuple[float, float]
) -> None:
    found = gap(scores(wins, losses, ties), 0.05)
    assert found is not None and found.low is not None and found.high is not None
    assert sign_test(wins, losses) == pytest.approx(p, abs=0.00005)
    assert found.gap == pytest.approx(apart, abs=0.05)
    assert [found.low, found.high] == pytest.approx([ends[0], ends[1]], abs=2)
    assert (found.base + found.finetuned) / 2 == 1500
    assert found.finetuned - found.base == pytest.approx(found.gap)


def test_ratings_lie_half_a_gap_around_1500() -> None:
    found = gap(scores(126, 74), 0.05)
    assert found is not None
    assert [found.base, found.finetuned] == pytest.approx([1453.8, 1546.2], abs=0.05)


def test_thirty_one_wins_of_fifty_show_no_gain() -> None:
    found, whole = gap(scores(31, 19), 0.05), effect([score - 0.5 for score in scores(31, 19)], 0.05)
    assert found is not None and found.low is not None and found.low < 0 < found.gap
    assert whole.interval is not None and whole.sign_flip_p is not None and whole.bound is not None
    assert sign_test(31, 19) == pytest.approx(0.1189, abs=0.00005)
    assert whole.sign_flip_p == pytest.approx(sign_test(31, 19))
    decided = [by_score(whole.interval, whole.sign_flip_p < 0.05, whole.bound, margin)[0] for margin in (0.01, 0.03)]
    assert decided == ["inconclusive", "not worse"]
    assert [sign_test(39, 23), sign_test(40, 23)] == pytest.approx([0.056, 0.043], abs=0.001)


def test_ninety_of_two_hundred_are_better_and_the_points_are_those_of_the_win_rate_above_fifty() -> None:
    whole = effect([score - 0.5 for score in scores(90, 60, 50)], 0.05)
    assert whole.interval is not None and whole.mean_difference == pytest.approx(0.075)
    assert [whole.interval.low, whole.interval.high] == pytest.approx([0.0154, 0.1346], abs=1e-4)
    assert whole.sign_flip_method == "exact" and whole.sign_flip_p == pytest.approx(0.0176, abs=0.00005)


@pytest.mark.parametrize(("n", "spread", "least"), [
    (50, 0.5, 0.202), (100, 0.5, 0.142), (200, 0.5, 0.0995), (200, 0.4, 0.0796), (500, 0.5, 0.063),
])  # fmt: skip
def test_the_smallest_difference_that_so_many_prompts_show(n: int, spread: float, least: float) -> None:
    shift = detectable_shift(n, 0.05)
    assert shift is not None and shift * spread == pytest.approx(least, abs=0.001)


@pytest.mark.parametrize(("n", "least"), [(6, None), (50, 0.2039), (100, 0.1451), (200, 0.1016), (500, 0.0637)])
def test_what_counts_show_is_a_little_less_than_that(n: int, least: float | None) -> None:
    found = detectable_preference(np.full(n, 0.5), 0.05)
    assert found == (least if least is None else pytest.approx(least, abs=0.0001))
    ties = detectable_preference(np.array([0.5] * 140 + [0.0] * 60), 0.05)
    assert ties == pytest.approx(0.0866, abs=0.0001) and detectable_preference(np.zeros(9), 0.05) is None


@pytest.mark.parametrize(("wins", "low", "bound"), [(5, 0.478, -15.2), (6, 0.541, 28.4)])
def test_where_nobody_lost_the_one_end_is_clopper_and_pearsons_and_there_is_no_other(
    wins: int, low: float, bound: float
) -> None:
    found = gap(scores(wins, 0), 0.05)
    assert found is not None and found.low is not None
    assert found.low == pytest.approx(bound, abs=0.1) == pytest.approx(400 * log10(low / (1 - low)), abs=0.7)
    assert found.high is None
    other = gap(scores(0, wins), 0.05)
    assert other is not None and other.low is None and other.high == pytest.approx(-found.low)


def test_ties_alone_are_no_gap_and_no_certainty() -> None:
    found = gap(scores(0, 0, 20), 0.05)
    assert found is not None and (found.gap, found.low, found.high) == (0, None, None)
    assert sign_test(0, 0) == 1
    assert gap([], 0.05) is None


def test_ties_narrow_a_bound_and_never_turn_it() -> None:
    few, many = gap(scores(6, 0, 10), 0.05), gap(scores(6, 0, 200), 0.05)
    assert few is not None and many is not None and few.low is not None and many.low is not None
    assert 0 < many.low < few.low < 28.4


@pytest.mark.parametrize(("a", "b", "p"), [(9, 2, 0.0654), (25, 10, 0.0167), (6, 0, 0.0313), (5, 0, 0.0625)])
def test_mcnemars_exact_test_is_the_same_sum(a: int, b: int, p: float) -> None:
    assert sign_test(a, b) == pytest.approx(p, abs=0.0001)
    assert effect([1.0] * a + [-1.0] * b, 0.05).sign_flip_p == pytest.approx(sign_test(a, b))


def test_a_published_pair_of_ratings_is_a_win_rate_and_seven_games_can_give_it() -> None:
    win_rate = 1 / (1 + 10 ** (-(1545.8 - 1454.2) / 400))
    assert win_rate == pytest.approx(0.6289, abs=0.0001)
    assert float(gap_of(np.array(win_rate), 1000)) == pytest.approx(91.6, abs=0.01)
    assert sequential([0, 1, 0, 1, 1, 1, 1]) == pytest.approx(1545.8, abs=0.05)


def sequential(games: list[int]) -> float:
    """A running rating with K = 32, as it is often published."""
    rating = 1500.0
    for won in games:
        rating += 32 * (won - 1 / (1 + 10 ** ((3000 - 2 * rating) / 400)))
    return rating


def test_a_running_rating_depends_on_the_order_of_games_and_this_one_does_not() -> None:
    ends, gaps = list[float](), set[float]()
    for seed in range(2000):
        games = [1] * 31 + [0] * 19
        random.Random(seed).shuffle(games)
        ends.append(sequential(games))
        gaps.add(float(gap_of(np.array(sum(games) / 50), 50)))
    assert [min(ends), max(ends)] == pytest.approx([1437, 1630], abs=1)
    assert len(gaps) == 1 and 1500 + gaps.pop() / 2 == pytest.approx(1542.5, abs=0.05)


def test_several_arms_are_fitted_together_and_two_give_the_closed_form() -> None:
    [base, tuned] = ratings(np.array(scores(74, 126))[:, None], [(0, 1)], 2, 0.05)
    assert (base.rating, base.low, base.high) == (1500, 0, 0)
    assert tuned.gap == pytest.approx(92.5, abs=0.05)
    assert [tuned.low, tuned.high] == pytest.approx([41.9, 143.1], abs=4)


def test_three_arms_of_known_strength_are_found_within_their_intervals() -> None:
    chance, strength = np.random.default_rng(2), np.array([0.0, 60.0, 150.0])
    pairs = [(0, 1), (0, 2), (1, 2)]
    won = np.array([1 / (1 + 10 ** ((strength[j] - strength[i]) / 400)) for i, j in pairs])
    drawn = (chance.random((600, 3)) < won).astype(float)
    drawn[chance.random((600, 3)) < 0.1] = np.nan
    found = ratings(drawn, pairs, 3, 0.05, resamples=2000)
    for one, true in zip(found[1:], strength[1:], strict=True):
        assert one.low < true < one.high and one.low < one.gap < one.high and one.high - one.low < 100


def test_an_arm_that_never_lost_still_has_a_rating() -> None:
    drawn = np.column_stack([np.zeros(20), np.full(20, 0.5), np.ones(20)])
    found = ratings(drawn, [(0, 1), (0, 2), (1, 2)], 3, 0.05, resamples=100)
    assert (
        all(abs(one.gap) < 1500 for one in found) and found[1].gap > 200 and found[2].gap == pytest.approx(0, abs=0.1)
    )
