"""What the whole will take, from what the pilot took."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import Field

from tuneline.stage import Closed
from tuneline_generator.stage import GeneratorParams

MOST_PARTS = 100
"""More pods on one server help nobody."""


class Taken(NamedTuple):
    """What the pilot took: `kept` of `items`, seconds at a steady pace (`Filled.seconds`), dollars if known."""

    items: int
    kept: int
    seconds: float
    usd: float | None
    at_once: int = 1
    """Items that the whole does at once."""


class Projection(Closed):
    """What the whole will take, with all that is rejected on the way; `_high` is at the lower bound of what is kept."""

    items: int = Field(ge=0)
    items_high: int = Field(ge=0)
    usd: float | None
    """None: the price is not known."""
    usd_high: float | None
    hours: float
    """At the pilot's pace, all parts at once."""
    hours_high: float
    parts: int = Field(ge=1)
    part_minutes: float


def items_for(count: int, share: float, oversample: float = 1.0) -> int:
    """Return how many items to make, so that `count` rows are kept where `share` of them is."""
    return math.ceil(round(count / share * oversample, 6))


def project(params: GeneratorParams, taken: Taken, kept_low: float) -> Projection | None:
    """Project from the pilot; `kept_low` is the lower bound of the share that is kept. None: the pilot kept nothing."""
    if not taken.kept:
        return None
    items = max(taken.items, items_for(params.count, taken.kept / taken.items, params.oversample))
    high = max(items, items_for(params.count, max(kept_low, 1 / taken.items), params.oversample))
    # A pilot of fewer items than are done at once says nothing of more: these are taken to go as fast.
    seconds = taken.seconds / taken.items * min(1.0, taken.items / taken.at_once)
    minutes = items * seconds / 60
    parts = min(MOST_PARTS, max(1, math.ceil(round(minutes / params.part_minutes, 6))))
    each = None if taken.usd is None else taken.usd / taken.items
    return Projection(
        items=items, items_high=high, usd=None if each is None else round(items * each, 6),
        usd_high=None if each is None else round(high * each, 6), hours=round(minutes / 60 / parts, 6),
        hours_high=round(high * seconds / 3600 / parts, 6), parts=parts, part_minutes=round(minutes / parts, 4),
    )  # fmt: skip
