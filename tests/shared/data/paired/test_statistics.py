"""Statistics of paired differences: against SciPy, against values worked out by hand, and their symmetries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tuneline.data.paired.effects import Effect
from tuneline.data.paired.planning import detectable_shift
from tuneline.data.paired.statistics import (
    EXACT_LIMIT,
    _lattice_share,
    bounded_interval,
    effect,
    fisher,
    holm,
    lower_bound,
    sign_flip,
)

FIVE_PERSONAS = (0.056, 0.277, 0.083, 0.170, 0.037)

differences = st.lists(st.integers(-100, 100).map(lambda k: k / 100), min_size=2, max_size=14)


def test_the_published_example_gives_the_p_of_five_personas_and_not_of_fourteen_trials() -> None:
    found = effect(FIVE_PERSONAS, 0.05)
    assert (found.personas, found.degrees_of_freedom) == (5, 4)
    assert found.t == pytest.approx(2.81, abs=0.005)
    assert found.t_p == pytest.approx(0.048, abs=0.0005)
    assert found.mean_difference == pytest.approx(0.1246)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.00137, 0.24783), abs=1e-5)
    assert found.sign_flip_p == pytest.approx(2 / 32)  # all five are positive: only two assignments are as extreme
    assert found.sign_flip_method == "exact"
    assert found.d_z == pytest.approx(2.8074 / math.sqrt(5), abs=1e-4)
    assert found.leave_one_out is not None
    assert (found.leave_one_out.low, found.leave_one_out.high) == pytest.approx((0.0865, 0.1465))


@given(differences)
@settings(max_examples=60)
def test_the_t_test_and_its_interval_are_those_of_scipy(d: list[float]) -> None:
    found = effect(d, 0.05)
    if np.std(d) < 1e-9:
        assert (found.t, found.t_p, found.d_z, found.detectable) == (None, None, None, None)
        return
    reference = stats.ttest_1samp(d, 0)
    interval = reference.confidence_interval(0.95)
    assert found.t == pytest.approx(float(reference.statistic), rel=1e-9, abs=1e-9)
    assert found.t_p == pytest.approx(float(reference.pvalue), rel=1e-9)
    assert found.interval is not None
    within = max(interval.low, -1), min(interval.high, 1)  # what lies beyond the scale cannot be
    assert (found.interval.low, found.interval.high) == pytest.approx(within, rel=1e-9, abs=1e-9)


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=14))
@settings(max_examples=60)
def test_the_exact_sign_flip_p_is_that_of_scipy_with_every_resample(points: list[int]) -> None:
    # SciPy gets whole points, so that its sums are exact: it misses ties of rounded sums, which must count as ties.
    reference = stats.permutation_test(
        (np.array(points),), np.sum, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert sign_flip(np.array(points) / 100).p == pytest.approx(float(reference.pvalue), rel=1e-12)


def test_the_sign_flip_p_counts_assignments_as_by_hand() -> None:
    d = (0.3, -0.1, 0.2)
    sums = [sum(s * x for s, x in zip(signs, d, strict=True)) for signs in itertools.product((1, -1), repeat=3)]
    assert sign_flip(np.array(d)).p == sum(abs(s) >= 0.4 - 1e-12 for s in sums) / 8 == 4 / 8


def test_the_largest_exact_case_agrees_with_the_random_one_beyond_it() -> None:
    d = np.random.default_rng(5).normal(0.04, 0.2, EXACT_LIMIT + 1)
    exact, random = sign_flip(d[:-1]), sign_flip(np.append(d[:-1], 1e-9))
    assert (exact.method, exact.resamples) == ("exact", 2**EXACT_LIMIT)
    assert (random.method, random.resamples) == ("random", 99_999)
    assert random.p == pytest.approx(exact.p, abs=0.005)
    assert random == sign_flip(np.append(d[:-1], 1e-9))


@given(differences)
@settings(max_examples=60)
def test_swapping_the_arms_turns_every_sign_and_changes_no_p(d: list[float]) -> None:
    one, other = effect(d, 0.05), effect([-x for x in d], 0.05)
    assert other.mean_difference == pytest.approx(-(one.mean_difference or 0))
    assert other.sign_flip_p == one.sign_flip_p
    assert other.t_p == (None if one.t_p is None else pytest.approx(one.t_p))
    assert other.detectable == (None if one.detectable is None else pytest.approx(one.detectable))
    assert one.interval is not None
    assert other.interval is not None
    assert (other.interval.low, other.interval.high) == pytest.approx((-one.interval.high, -one.interval.low))


@given(differences, st.integers(-50, 50).map(lambda k: k / 100))
@settings(max_examples=60)
def test_shifting_every_difference_shifts_the_interval_and_leaves_its_width(d: list[float], shift: float) -> None:
    shift = max(-1 - min(d), min(1 - max(d), shift))  # a difference of two scores lies on the scale
    one, other = effect(d, 0.05), effect([x + shift for x in d], 0.05)
    if one.t is None or any(e.interval is None or max(-e.interval.low, e.interval.high) == 1 for e in (one, other)):
        return  # at the edge of the scale an interval is cut, and one for any spread is wider on the long side
    assert one.interval is not None
    assert other.interval is not None
    assert other.interval.low - one.interval.low == pytest.approx(shift, abs=1e-9)
    assert other.interval.high - one.interval.high == pytest.approx(shift, abs=1e-9)


@given(differences)
@settings(max_examples=60)
def test_the_order_of_the_personas_is_irrelevant(d: list[float]) -> None:
    one, other = effect(d, 0.05), effect(d[::-1], 0.05)
    assert one.sign_flip_p == other.sign_flip_p
    assert one.mean_difference == pytest.approx(other.mean_difference)


def test_a_figure_that_the_sample_cannot_give_is_none_and_never_nan() -> None:
    assert effect([], 0.05) == Effect(
        personas=0, mean_difference=None, interval=None, degrees_of_freedom=None, t=None, t_p=None, sign_flip_p=None,
        sign_flip_method=None, sign_flip_resamples=None, d_z=None, detectable=None, leave_one_out=None, bound=None,
    )  # fmt: skip
    one = effect([0.2], 0.05)
    assert (one.mean_difference, one.sign_flip_p) == (0.2, 1.0)
    assert (one.interval, one.t_p, one.detectable, one.leave_one_out) == (None, None, None, None)


def test_equal_differences_have_the_interval_that_holds_for_any_spread_although_their_rounding_differs() -> None:
    d = [0.7 - 0.6, 0.3 - 0.2, 0.9 - 0.8, 0.1, 0.4 - 0.3, 1.1 - 1.0]
    assert len(set(d)) > 1
    found = effect(d, 0.05)
    assert found.interval == bounded_interval(np.array(d), 0.05)
    assert -0.6 < found.interval.low < -0.3 < 0.1 < 0.5 < found.interval.high < 0.7
    assert (found.t, found.d_z, found.detectable) == (None, None, None)
    assert found.sign_flip_p == 2 / 64


@given(differences)
@settings(max_examples=60)
def test_an_interval_has_a_width_holds_the_mean_and_stays_on_the_scale(d: list[float]) -> None:
    found = effect(d, 0.05)
    assert found.interval is not None
    assert found.mean_difference is not None
    assert found.bound is not None
    assert -1 <= found.interval.low <= found.mean_difference + 1e-6
    assert found.mean_difference - 1e-6 <= found.interval.high <= 1
    assert found.interval.high - found.interval.low >= 0.001
    assert -1 <= found.bound <= found.mean_difference


def test_no_difference_at_all_has_p_one() -> None:
    assert effect([0.0] * 50, 0.05).sign_flip_p == 1.0
    assert effect([1e-17, -1e-17, 3e-17], 0.05).sign_flip_p == 1.0


@pytest.mark.parametrize("n", [12, 30, 1000])
def test_with_many_personas_the_detectable_difference_is_that_of_the_noncentral_t(n: int) -> None:
    shift = detectable_shift(n, 0.05)
    assert shift is not None
    critical, far = stats.t.isf(0.025, n - 1), shift * math.sqrt(n)
    power = stats.nct.sf(critical, n - 1, far) + stats.nct.cdf(-critical, n - 1, far)
    assert power == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("n", [6, 7, 10, 12])
def test_the_detectable_difference_is_found_by_both_tests_in_80_percent_of_samples(n: int) -> None:
    shift = detectable_shift(n, 0.05)
    assert shift is not None
    samples = np.random.default_rng(1).normal(shift, 1.0, (2_000, n))
    t_test_alone = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05
    found = [by_t and sign_flip(sample).p < 0.05 for by_t, sample in zip(t_test_alone, samples, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_no_difference_is_detectable_where_the_sign_flip_test_can_never_reject() -> None:
    assert detectable_shift(5, 0.05) is None
    assert detectable_shift(6, 0.05) is not None
    assert (detectable_shift(10, 0.001), detectable_shift(3, 0.2)) == (None, None)
    assert effect(FIVE_PERSONAS, 0.05).detectable is None


def test_a_detectable_difference_beyond_the_scale_is_none() -> None:
    assert effect([0.9, -0.9, 0.8, -0.7, 0.9, -0.8], 0.05).detectable is None


def test_holm_multiplies_the_smallest_most_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_bound_of_equal_values_is_the_closed_form() -> None:
    for n in (1, 6, 30, 300):
        assert lower_bound(np.zeros(n), 0.05) == pytest.approx(0.05 ** (1 / n) - 1, abs=1e-5)
        assert lower_bound(np.full(n, 0.2), 0.05) == pytest.approx(1.2 * 0.05 ** (1 / n) - 1, abs=1e-5)
    assert lower_bound(-np.ones(5), 0.05) == -1


@pytest.mark.parametrize(("failures", "n"), [(1, 10), (5, 100), (29, 30)])
def test_the_bound_for_two_values_is_that_of_clopper_and_pearson(failures: int, n: int) -> None:
    d = -(np.arange(n) < failures).astype(float)
    exact = stats.binomtest(failures, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert lower_bound(d, 0.05) == pytest.approx(-exact, abs=1e-5)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=60)
def test_a_bound_of_changes_is_above_0_exactly_when_the_sign_test_rejects(gained: int, lost: int, same: int) -> None:
    if not gained + lost + same:
        return
    d = np.array([1.0] * gained + [-1.0] * lost + [0.0] * same)
    p = stats.binom.sf(gained - 1, gained + lost, 0.5) if gained else 1.0
    assert (lower_bound(d, 0.05) > 0) == (p < 0.05)


@given(differences)
@settings(max_examples=60)
def test_the_bound_is_the_quantile_of_randomly_weighted_means(d: list[float]) -> None:
    if max(d) == -1:
        return  # there is no lower mean, and the bound is that
    weights = np.random.default_rng(2).exponential(size=(20_000, len(d) + 1))
    means = weights @ np.append(d, -1.0) / weights.sum(axis=1)
    assert np.mean(means < lower_bound(np.array(d), 0.05)) == pytest.approx(0.05, abs=0.008)


def test_fisher_is_one_for_equal_rates_and_small_for_unequal_ones() -> None:
    assert fisher(0, 30, 0, 30) == 1.0
    assert fisher(0, 0, 0, 0) == 1.0
    assert fisher(0, 30, 6, 30) == pytest.approx(stats.fisher_exact([[0, 30], [6, 24]]).pvalue)
    assert fisher(0, 30, 6, 30) < 0.05


def test_above_forty_differences_of_one_size_the_sign_flip_test_is_the_sign_test() -> None:
    found = sign_flip(np.array([0.5] * 126 + [-0.5] * 74))
    assert (found.method, found.resamples) == ("exact", None)
    assert found.p == pytest.approx(stats.binomtest(126, 200).pvalue, rel=1e-9)


def test_above_forty_differences_in_quarters_all_sign_assignments_count() -> None:
    chance = np.random.default_rng(4)
    few = chance.choice([-0.5, -0.25, 0.25, 0.5, 0.5], 24)
    assert _lattice_share(few, abs(few.sum()) - 1e-9) == pytest.approx(sign_flip(few).p, rel=1e-9)
    many = chance.choice([-0.5, -0.25, 0.0, 0.25, 0.5, 0.5], 300)
    exact, signs = sign_flip(many), chance.choice([-1.0, 1.0], (40_000, 300))
    drawn = (np.abs(signs @ many) >= abs(many.sum()) - 1e-9).mean()
    assert exact.method == "exact" and exact.p == pytest.approx(drawn, abs=0.01)
    assert sign_flip(chance.normal(0.1, 1, 60)).method == "random"


@pytest.mark.slow
def test_thousands_of_prompts_are_a_sample_as_any_other() -> None:
    count = 2_001
    even = effect([0.5, -0.5] * (count // 2) + [0.0] * (count % 2), 0.05)
    assert even.sign_flip_p == 1.0 and even.sign_flip_resamples is None and even.detectable is not None
    uneven = effect([0.5, 0.5, -0.5] * (count // 3), 0.05)
    assert uneven.sign_flip_method == "exact" and (uneven.sign_flip_p or 0.0) < 1e-9
    assert effect(list(np.random.default_rng(5).normal(0, 0.1, count)), 0.05).sign_flip_method == "random"
