"""Which rows make up each optimiser step, and in which forward passes: known in advance, for the whole training.

Every pass over the rows has an order of its own, drawn from the seed and the number of the pass alone, so a training
that goes on finds the same steps again without counting through them. A step learns about as many tokens as any other,
and rows of about one length go through the model together.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from tuneline_trainer.examples.rows import Row


class Steps:
    """The steps of a training, by number; `per_epoch` of them take every row once."""

    def __init__(self, rows: Sequence[Row], per_epoch: int, batch_size: int, seed: int) -> None:
        self._rows, self._per_epoch, self._batch_size, self._seed = rows, per_epoch, batch_size, seed
        self._pass = lru_cache(2)(self._plan)

    def batches(self, step: int) -> list[list[Row]]:
        """Return the forward passes of a step, counted from 0."""
        epoch, place = divmod(step, self._per_epoch)
        return [[self._rows[at] for at in batch] for batch in self._pass(epoch)[place]]

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        """Return the forward passes of each step of a pass, by the numbers of their rows."""
        order = list(range(len(self._rows)))
        random.Random(f"{self._seed} {epoch}").shuffle(order)
        sizes = [self._rows[at].supervised for at in order]
        return [self._grouped(order[start:end]) for start, end in evenly(sizes, self._per_epoch)]

    def _grouped(self, step: Sequence[int]) -> list[list[int]]:
        """Cut a step into batches, the longest rows first: what is too long for the memory is too long at once."""
        by_length = sorted(step, key=lambda at: (-self._rows[at].length, at))
        return [by_length[at : at + self._batch_size] for at in range(0, len(step), self._batch_size)]


def evenly(sizes: Sequence[int], parts: int) -> list[tuple[int, int]]:
    """Cut `sizes` into `parts` ranges of about equal sums, none of them empty; needs at least as many sizes."""
    sums = [0, *accumulate(sizes)]
    borders = [0]
    for part in range(1, parts):
        wanted, least, most = sums[-1] * part / parts, borders[-1] + 1, len(sizes) - (parts - part)
        above = bisect_left(sums, wanted, least, most)
        below = max(least, above - 1)
        borders.append(below if wanted - sums[below] <= sums[above] - wanted else above)
    return list(zip(borders, [*borders[1:], len(sizes)], strict=True))
