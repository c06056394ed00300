"""Which rows make up a step."""

from __future__ import annotations

import random
from array import array

import pytest

from tuneline_trainer.examples.rows import Row
from tuneline_trainer.examples.steps import Steps, evenly


def rows(count: int) -> list[Row]:
    """Rows of many lengths; the first number of each is its own."""
    lengths = random.Random(3).choices(range(20, 900), k=count)
    return [Row(array("i", [at] * n), n, [((1, n // 2), 1.0)], 1, n // 2 - 1) for at, n in enumerate(lengths)]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(("count", "per_epoch"), [(40, 5), (7, 7), (3, 1), (41, 6)])
def test_every_pass_takes_each_row_once_in_an_order_of_its_own(count: int, per_epoch: int, batch_size: int) -> None:
    steps = Steps(rows(count), per_epoch, batch_size, seed=0)
    passes = [
        [[row.ids[0] for batch in steps.batches(epoch * per_epoch + at) for row in batch] for at in range(per_epoch)]
        for epoch in range(3)
    ]
    for epoch in passes:
        assert all(epoch)
        assert sorted(number for step in epoch for number in step) == list(range(count))
    assert passes[0] != passes[1] or count < 4
    again = Steps(rows(count), per_epoch, batch_size, seed=0)
    assert again.batches(2 * per_epoch) == steps.batches(2 * per_epoch), "found again without counting through"


def test_steps_learn_about_equally_much() -> None:
    made = rows(400)
    steps = Steps(made, 50, 1, seed=0)
    mean, most = sum(row.supervised for row in made) / 50, max(row.supervised for row in made)
    for step in range(50):
        assert abs(sum(row.supervised for batch in steps.batches(step) for row in batch) - mean) <= most


def test_rows_of_a_batch_are_of_about_one_length() -> None:
    made = rows(400)
    batches = [batch for step in range(12) for batch in Steps(made, 12, 4, seed=0).batches(step)]
    padded = sum(len(batch) * max(row.length for row in batch) for batch in batches)
    assert padded <= 1.15 * sum(row.length for row in made)
    assert max(len(batch) for batch in batches) == 4


@pytest.mark.parametrize(
    ("sizes", "parts", "ranges"),
    [
        ([1, 1, 1, 1], 2, [(0, 2), (2, 4)]),
        ([9, 1, 1, 1], 2, [(0, 1), (1, 4)]),
        ([1, 1, 1, 9], 3, [(0, 2), (2, 3), (3, 4)]),
        ([5], 1, [(0, 1)]),
        ([100, 1, 1], 3, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_no_part_is_empty(sizes: list[int], parts: int, ranges: list[tuple[int, int]]) -> None:
    assert evenly(sizes, parts) == ranges
