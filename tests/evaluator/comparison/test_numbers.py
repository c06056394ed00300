from __future__ import annotations

import pytest

from tuneline_evaluator.comparison import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.signed(0.0634), "+6.3"), (numbers.signed(-0.0634), "−6.3"), (numbers.signed(0.0004), "0.0"),
        (numbers.signed(-0.0004), "0.0"), (numbers.signed(None), "–"), (numbers.points(0.625), "62.5"),
        (numbers.p_equals(0.0479), "p = 0.048"), (numbers.p_equals(0.0002), "p < 0.001"),
        (numbers.p_equals(1.0), "p = 1.000"),
        (numbers.percent(0.95), "95 %"), (numbers.percent(1 / 16), "6.2 %"), (numbers.rate(2, 32), "2 (6.2 %)"),
        (numbers.size(5_761_057_728), "5.76 GB"), (numbers.size(999), "999 B"), (numbers.size(999_999), "1.00 MB"),
        (numbers.count(-26151), "−26,151"), (numbers.plain(2e-05), "2e−5"), (numbers.plain(0.85), "0.85"),
        (numbers.plain(12_345.6), "12,346"), (numbers.plain(-12_345.6), "−12,346"), (numbers.plain(999.96), "1000"),
        (numbers.plain({"rank": 64, "on": True}), "rank 64, on yes"), (numbers.plural(1, "persona"), "1 persona"),
    ],
)  # fmt: skip
def test_numbers_are_written_the_same_way_everywhere(written: str, expected: str) -> None:
    assert written.replace(numbers.SPACE, " ") == expected
