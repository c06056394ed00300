"""Fills the journals: every item of a range is written, looked at by the rules and by the critic, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import NamedTuple

from tuneline.errors import LlmRejected, ServerDown, Stopped, Temporary
from tuneline.stage import Context
from tuneline_generator.budget import Capped
from tuneline_generator.items import Item
from tuneline_generator.rows import Row

SAFE_POINT_S = 0.5
"""A stop is heard at least this often, however long a call takes."""

Work = Callable[[Item], Row]


class Filled(NamedTuple):
    """Rows in the order of their items, and how many items there was no money for."""

    rows: list[Row]
    unpaid: int


def fill(items: Sequence[Item], work: Work, pool: ThreadPoolExecutor, concurrency: int, context: Context) -> Filled:
    """Do all `items`. Raises Temporary when stopped, or when some could not be written now."""
    queue, running = iter(items), dict[Future[Row | None], Item]()
    rows: dict[Item, Row] = {}
    unpaid, postponed = 0, list[str]()
    while True:
        running |= {pool.submit(_one, work, item): item for item in islice(queue, concurrency - len(running))}
        context.progress(len(rows), len(items))
        if not running:
            break
        for future in wait(running, timeout=SAFE_POINT_S, return_when=FIRST_COMPLETED).done:
            item = running.pop(future)
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
