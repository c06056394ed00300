from __future__ import annotations

import pytest
from scipy.stats import beta

from tuneline_generator.report.bounds import rate


@pytest.mark.parametrize(
    ("events", "of", "low", "high"),
    [
        (0, 30, 0.0, 0.0950), (0, 39, 0.0, 0.0739), (0, 58, 0.0, 0.0503), (0, 59, 0.0, 0.0495),
        (1, 100, None, 0.0466), (2, 100, None, 0.0616), (5, 100, None, 0.1023), (3, 39, None, 0.1870),
        (4, 100, None, 0.0892), (30, 39, 0.6318, None), (20, 39, 0.3714, None), (19, 39, 0.3472, None),
        (59, 100, 0.5029, None), (58, 100, 0.4928, None), (0, 0, 0.0, 1.0), (7, 7, None, 1.0),
    ],
)  # fmt: skip
def test_a_share_has_a_bound_on_either_side(events: int, of: int, low: float | None, high: float | None) -> None:
    found = rate(events, of)
    assert found.share == (events / of if of else 0)
    assert low is None or found.low == pytest.approx(low, abs=5e-5)
    assert high is None or found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize("of", [1, 2, 59, 100, 1317, 24_001, 1_000_000])
def test_the_bounds_are_those_of_scipy(of: int) -> None:
    for events in sorted({0, 1, of // 100, of // 7, of // 2, of - of // 9, of - 1, of}):
        found = rate(events, of)
        low = beta.ppf(0.05, events, of - events + 1) if events else 0.0
        high = beta.ppf(0.95, events + 1, of - events) if events < of else 1.0
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-8)
