"""What becomes of all rows together: duplicates, overlap with what is held out, and those that are not wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from tuneline_generator.duplicates import HeldOut, Seen
from tuneline_generator.prepare import Prepared, TestPrompt
from tuneline_generator.rows import Row


class Settled(NamedTuple):
    """All rows with their final statuses, in order, and the test prompts."""

    rows: list[Row]
    prompts: list[TestPrompt]


def settle(rows: Sequence[Row], prepared: Prepared, prompts: list[TestPrompt]) -> Settled:
    """Give every row its status: of rows alike the first stays, and of good ones as many as are wanted."""
    seen, held_out = Seen(), HeldOut([*prepared.held_out, *(one.prompt for one in prompts)])
    settled, kept = list[Row](), 0
    for row in rows:
        if row.status != "kept":
            settled.append(row)
        elif twin := seen.add(row.prompt):
            settled.append(replace(row, status=twin, detail="an earlier row has the same prompt, or nearly"))
        elif held_out.overlaps(row.prompt):
            settled.append(replace(row, status="overlaps", detail="the prompt overlaps with one that is held out"))
        else:
            kept += 1
            settled.append(replace(row, status="kept" if kept <= prepared.params.count else "spare"))
    return Settled(settled, prompts)


def chosen_prompts(rows: Iterable[Row], prepared: Prepared) -> list[TestPrompt]:
    """Return the test prompts: the first that are good, of different text, and held out nowhere else."""
    seen, held_out = Seen(), HeldOut(prepared.held_out)
    good = (row for row in rows if row.status == "kept" and not seen.add(row.prompt))
    fine = [row for row in good if not held_out.overlaps(row.prompt)]
    wanted = fine[: prepared.recipe.test_prompts]
    return [TestPrompt(id=f"test-{row.item:07d}", prompt=row.prompt, category=row.category) for row in wanted]
