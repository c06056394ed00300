"""Statistics of paired differences: against SciPy, against values worked out by hand, and their symmetries."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tuneline_evaluator.comparison.figures import Effect
from tuneline_evaluator.comparison.statistics import (
    EXACT_LIMIT,
    detectable_difference,
    effect,
    fisher,
    holm,
    paired_share_bounds,
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
@settings(max_examples=60, deadline=None)
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
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=14))
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=60, deadline=None)
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
@settings(max_examples=60, deadline=None)
def test_shifting_every_difference_shifts_the_interval_and_leaves_its_width(d: list[float], shift: float) -> None:
    one, other = effect(d, 0.05), effect([x + shift for x in d], 0.05)
    assert one.interval is not None
    assert other.interval is not None
    assert other.interval.low - one.interval.low == pytest.approx(shift, abs=1e-9)
    assert other.interval.high - one.interval.high == pytest.approx(shift, abs=1e-9)


@given(differences)
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_personas_is_irrelevant(d: list[float]) -> None:
    one, other = effect(d, 0.05), effect(d[::-1], 0.05)
    assert one.sign_flip_p == other.sign_flip_p
    assert one.mean_difference == pytest.approx(other.mean_difference)


def test_a_figure_that_the_sample_cannot_give_is_none_and_never_nan() -> None:
    assert effect([], 0.05) == Effect(
        personas=0, mean_difference=None, interval=None, degrees_of_freedom=None, t=None, t_p=None, sign_flip_p=None,
        sign_flip_method=None, sign_flip_resamples=None, d_z=None, detectable=None, leave_one_out=None,
    )  # fmt: skip
    one = effect([0.2], 0.05)
    assert (one.mean_difference, one.sign_flip_p) == (0.2, 1.0)
    assert (one.interval, one.t_p, one.detectable, one.leave_one_out) == (None, None, None, None)


def test_equal_differences_have_an_interval_without_width_although_their_rounding_differs() -> None:
    d = [0.7 - 0.6, 0.3 - 0.2, 0.9 - 0.8, 0.1, 0.4 - 0.3, 1.1 - 1.0]
    assert len(set(d)) > 1
    found = effect(d, 0.05)
    assert found.interval is not None
    assert found.interval.low == found.interval.high == pytest.approx(0.1)
    assert (found.t, found.d_z, found.detectable) == (None, None, None)
    assert found.sign_flip_p == 2 / 64


def test_no_difference_at_all_has_p_one() -> None:
    assert effect([0.0] * 50, 0.05).sign_flip_p == 1.0
    assert effect([1e-17, -1e-17, 3e-17], 0.05).sign_flip_p == 1.0


@pytest.mark.parametrize("n", [5, 12, 30])
def test_the_detectable_difference_has_a_power_of_80_percent_by_the_noncentral_t(n: int) -> None:
    critical, shift = stats.t.isf(0.025, n - 1), detectable_difference(0.2, n, 0.05) / (0.2 / math.sqrt(n))
    power = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_the_detectable_difference_is_found_in_80_percent_of_simulated_samples() -> None:
    delta = detectable_difference(1.0, 8, 0.05)
    samples = np.random.default_rng(1).normal(delta, 1.0, (20_000, 8))
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("significance", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("n", [2, 3, 5, 1000])
def test_the_detectable_difference_is_finite_where_the_noncentral_t_of_scipy_is_not(
    n: int, significance: float
) -> None:
    assert 0 < detectable_difference(1.0, n, significance) < 1000


def test_holm_multiplies_the_smallest_most_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_bound_of_a_paired_share_is_the_closed_form_when_no_pair_differs() -> None:
    z = 1.6448536269514722
    for n in (1, 6, 30, 300):
        found = paired_share_bounds(0, 0, n, 0.05)
        assert found.low == pytest.approx(-z * z / (n + z * z), abs=1e-6)
        assert found.high == pytest.approx(z * z / (n + z * z), abs=1e-6)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_the_bounds_of_a_paired_share_hold_the_difference_and_mirror_when_the_arms_swap(
    gained: int, lost: int, same: int
) -> None:
    n = gained + lost + same
    if not n:
        return
    one, other = paired_share_bounds(gained, lost, n, 0.05), paired_share_bounds(lost, gained, n, 0.05)
    assert -1 <= one.low <= (gained - lost) / n <= one.high <= 1
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-6)


def test_the_bound_of_a_paired_share_covers_the_truth_at_least_nearly_as_often_as_it_says() -> None:
    draws = np.random.default_rng(3).multinomial(40, [0.05, 0.10, 0.85], size=2_000)  # gained, lost, same: −0.05
    bounds = {(g, lost): paired_share_bounds(g, lost, 40, 0.05).low for g, lost, _ in {tuple(row) for row in draws}}
    assert np.mean([bounds[g, lost] <= -0.05 for g, lost, _ in draws]) > 0.93


def test_fisher_is_one_for_equal_rates_and_small_for_unequal_ones() -> None:
    assert fisher(0, 30, 0, 30) == 1.0
    assert fisher(0, 0, 0, 0) == 1.0
    assert fisher(0, 30, 6, 30) == pytest.approx(stats.fisher_exact([[0, 30], [6, 24]]).pvalue)
    assert fisher(0, 30, 6, 30) < 0.05
