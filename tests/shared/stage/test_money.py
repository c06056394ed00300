"""Amounts of money and of time, as people read them everywhere."""

from __future__ import annotations

import pytest

from tuneline.stage import Usage, dollars, rounded, span


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0.00"), (1e-9, "under $0.0001"), (0.00012, "$0.00012"), (0.0123, "$0.012"), (0.1, "$0.10"),
        (1.005, "$1.00"), (1234.5, "$1,234.50"),
    ],
)  # fmt: skip
def test_an_amount_has_cents_and_a_small_one_the_digits_that_count(usd: float, said: str) -> None:
    assert dollars(usd) == said


def test_a_price_that_is_not_known_is_never_nothing() -> None:
    assert Usage(calls=2, unpriced=2).usd == "not known"
    assert Usage(calls=2, unpriced=1, cost_usd=0.5).usd == "over $0.50"
    assert Usage(calls=2, cost_usd=0.5).usd == "$0.50"
    assert Usage().usd == "$0.00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41, "41 s"), (720, "12 min"), (12_000, "3 h 20 min"), (200_000, "2 d"), (5_399, "1 h 30 min")],
)
def test_spans_are_told_in_a_unit_that_says_enough(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0095, "0.0095"), (0.0581, "0.058"), (1.54, "1.5"), (99.6, "100"), (123, "120"), (1234, "1,200"), (0, "0")],
)
def test_a_number_has_the_digits_that_count_and_never_an_exponent(value: float, text: str) -> None:
    assert rounded(value) == text


def test_what_calls_took_adds_up_in_every_field() -> None:
    one = Usage.model_validate({name: number for number, name in enumerate(Usage.model_fields, 1)})
    assert (one + one).model_dump() == {name: 2 * number for number, name in enumerate(Usage.model_fields, 1)}
    assert sum([Usage(cost_usd=0.1)] * 3, start=Usage()).cost_usd == 0.3, "without what binary fractions leave behind"
