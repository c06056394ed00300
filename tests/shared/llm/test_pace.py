from __future__ import annotations

import math

import pytest

from kit.limited_servers import Bucket, Moody, Slots, Window, simulate
from tuneline.llm.pace import Pace

BUCKETS = [(1, 10), (1, 60), (8, 8), (8, 50), (20, 5), (20, 20), (20, 200), (50, 50), (100, 100)]


@pytest.mark.parametrize("call_s", [0.5, 5.0, 30.0])
@pytest.mark.parametrize(("rate", "burst"), BUCKETS)
def test_a_token_bucket_is_found_and_used_whatever_a_call_takes(rate: float, burst: float, call_s: float) -> None:
    for seed in range(3):
        fared = simulate(Bucket(rate, burst), call_s=call_s, most=4000, seed=seed)
        assert fared.ratio <= 1.15
        assert fared.rejected < 0.01


@pytest.mark.parametrize("call_s", [0.5, 5.0])
def test_a_bucket_of_a_second_is_found_within_two_hundred_calls(call_s: float) -> None:
    for seed in range(5):
        few = simulate(Bucket(20, 20), call_s=call_s, calls=200, most=2048, seed=seed)
        assert few.ratio <= 1.15
        assert few.rejected < 0.01
        more = simulate(Bucket(20, 20), call_s=call_s, calls=600, most=2048, seed=seed)
        assert more.ratio <= 1.05
        assert more.rejected < 0.006


def test_a_bucket_that_was_full_while_its_rate_was_unknown_is_measured_nevertheless() -> None:
    fared = simulate(Bucket(20, 5), calls=600, call_s=0.5)
    assert fared.ratio <= 1.15
    assert fared.rejected < 0.01


@pytest.mark.parametrize("call_s", [0.5, 5.0])
@pytest.mark.parametrize(("rate", "burst"), [(1, 60), (8, 8), (20, 20), (20, 200)])
def test_a_server_that_orders_waits_is_used_as_well(rate: float, burst: float, call_s: float) -> None:
    fared = simulate(Bucket(rate, burst), call_s=call_s, orders=True)
    assert fared.ratio <= 1.15
    assert fared.rejected < 0.01


@pytest.mark.parametrize("call_s", [0.5, 5.0])
@pytest.mark.parametrize(("rate", "burst"), [(1, 60), (8, 8), (8, 500), (20, 20), (100, 100)])
def test_limits_that_are_announced_are_kept_from_the_first_answer_on(rate: float, burst: float, call_s: float) -> None:
    fared = simulate(Bucket(rate, burst), call_s=call_s, announces=True)
    assert fared.ratio <= 1.15
    assert fared.rejected < 0.01


@pytest.mark.parametrize("slots", [1, 8, 30, 100])
def test_a_server_that_limits_calls_in_flight_is_kept_full(slots: int) -> None:
    fared = simulate(Slots(slots), call_s=5.0, calls=600)
    assert fared.ratio <= 1.15
    assert fared.rejected < 0.02


@pytest.mark.parametrize(("most", "seconds"), [(60, 60), (500, 60), (10, 1)])
def test_fixed_windows_with_a_time_to_wait_are_survived(most: int, seconds: float) -> None:
    fared = simulate(Window(most, seconds), orders=True)
    assert fared.ratio <= 1.5
    assert fared.rejected < 0.02


def test_a_limit_that_is_lowered_is_followed() -> None:
    bucket = Bucket(20, 20, later=(10, 5))
    fared = simulate(bucket, calls=600)
    assert fared.seconds <= 1.1 * (10 + (600 - 220) / 5 + 5)
    assert fared.rejected < 0.03


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_rejections_that_no_pace_avoids_do_not_stop_everything(share: float) -> None:
    fared = simulate(Moody(share), calls=500)
    assert fared.seconds <= 500 / 2 * 2, "about two calls a second go on"


def test_a_thousand_calls_are_in_flight_where_nobody_minds() -> None:
    fared = simulate(Bucket(10_000, 10_000), calls=3000, call_s=10.0)
    assert fared.in_flight == 1000
    assert fared.seconds < 45


def test_never_more_than_the_most_are_in_flight() -> None:
    fared = simulate(Bucket(10_000, 10_000), calls=300, call_s=1.0, most=8)
    assert fared.in_flight == 8
    assert fared.ratio * (300 / 1e4 + 1) <= 300 / 8 * 1.15


def test_rejections_of_calls_that_were_under_way_together_count_once() -> None:
    one, many = Pace(100), Pace(100)
    for pace, rejected in ((one, 1), (many, 8)):
        turns = [pace.begin(number / 20) for number in range(30)]
        for turn in turns[20 : 20 + rejected]:
            pace.reject(turn, 1.6)
        for turn in turns[20 + rejected :]:
            pace.end(turn)
    assert one.rate() == many.rate()
    assert one.next(1.6) == many.next(1.6)


def test_an_ordered_wait_is_kept_and_an_overloaded_server_is_sent_less() -> None:
    pace = Pace(100)
    turn = pace.begin(0.0)
    pace.reject(turn, 0.1, wait_s=7.0)
    assert pace.next(0.1) >= 7.1
    busy = Pace(100)
    before = busy.rate()
    busy.reject(busy.begin(0.0), 0.1, overloaded=True)
    assert busy.rate() < before
    assert busy.next(0.1) < math.inf
