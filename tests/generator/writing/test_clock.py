"""The time of a server, divided among its calls."""

from __future__ import annotations

import pytest

from tuneline_generator.writing.clock import Clock


def test_calls_that_are_in_flight_together_divide_the_time() -> None:
    moments = iter([10.0, 12.0, 13.0, 17.0])
    clock = Clock(lambda: next(moments))
    first = clock.begin()  # alone for 2 s
    second = clock.begin()  # together for 1 s
    assert clock.end(first) == pytest.approx(2.5)
    assert clock.end(second) == pytest.approx(0.5 + 4)


def test_time_in_which_nobody_asks_is_nobodys() -> None:
    moments = iter([0.0, 1.0, 100.0, 102.0])
    clock = Clock(lambda: next(moments))
    assert [clock.end(clock.begin()), clock.end(clock.begin())] == [1.0, 2.0]
