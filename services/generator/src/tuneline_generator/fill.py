"""Fills the journals: every item of a range is written, looked at by the rules and by the critic, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tuneline.errors import LlmRejected, ServerDown, Stopped, Temporary
from tuneline.llm.limits import ended
from tuneline.stage import Context
from tuneline_generator.budget import Capped
from tuneline_generator.items import Item
from tuneline_generator.rows import Row

Work = Callable[[Item], Row]


class Filled(NamedTuple):
    """Rows in the order of their items, and how many items there was no money for."""

    rows: list[Row]
    unpaid: int


def fill(items: Sequence[Item], work: Work, pool: ThreadPoolExecutor, concurrency: int, context: Context) -> Filled:
    """Do all `items`. Raises Temporary when stopped, or when some could not be written now."""
    rows: dict[Item, Row] = {}
    unpaid, postponed = 0, list[str]()

    def safe_point() -> None:
        context.progress(len(rows), len(items))

    for item, future in ended(items, lambda item: pool.submit(_one, work, item), concurrency, safe_point):
        try:
            row = future.result()
        except (ServerDown, Stopped):
            raise
        except Temporary as e:  # it concerns this item; the others may fare better
            postponed.append(str(e))
            continue
        if row is None:
            unpaid += 1
        else:
            rows[item] = row
    if postponed:
        raise Temporary(
            f"{len(postponed)} of {len(items)} items not written ({postponed[0]}); "
            "run the same command again to try these"
        )
    return Filled([rows[item] for item in items if item in rows], unpaid)


def _one(work: Work, item: Item) -> Row | None:
    try:
        return work(item)
    except LlmRejected as e:
        return Row(item=item.number, status=e.kind, detail=str(e))
    except Capped:
        return None
