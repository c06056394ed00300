"""Fills the journals: every item of a range is written, looked at by the rules and by the critic, some at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tuneline.errors import Capped, LlmRejected, ServerDown, Stopped, Temporary
from tuneline.llm.limits import ended
from tuneline.stage import Context
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.rows import Row

Work = Callable[[Item], Row]


class Filled(NamedTuple):
    """Rows in the order of their items; `capped` is what a call was refused with if there was no money for all."""

    rows: list[Row]
    capped: Capped | None = None
    seconds: float = 0.0
    """How long they would have taken, had as many been under way until the end as were at the beginning."""


def fill(items: Sequence[Item], work: Work, pool: ThreadPoolExecutor, concurrency: int, context: Context) -> Filled:
    """Do all `items`. Raises Temporary when stopped, or when some could not be written now."""
    rows: dict[Item, Row] = {}
    capped, postponed, seconds = None, list[str](), 0.0

    def safe_point() -> None:
        context.progress(len(rows), len(items))

    for item, future in ended(items, lambda item: pool.submit(_one, work, item), concurrency, safe_point):
        try:
            rows[item], took = future.result()
            seconds += took
        except Capped as e:  # others may cost less
            capped = e
        except (ServerDown, Stopped):
            raise
        except Temporary as e:  # it concerns this item; the others may fare better
            postponed.append(str(e))
    if postponed:
        raise Temporary(
            f"{len(postponed)} of {len(items)} items not written ({postponed[0]}); "
            "run the same command again to try these"
        )
    at_once = max(1, min(concurrency, len(items)))
    return Filled([rows[item] for item in items if item in rows], capped, seconds / at_once)


def _one(work: Work, item: Item) -> tuple[Row, float]:
    began = time.monotonic()
    try:
        row = work(item)
    except LlmRejected as e:
        row = Row(item=item.number, status=e.kind, detail=str(e))
    return row, time.monotonic() - began
