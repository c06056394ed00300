"""What becomes of all rows together: duplicates, overlap with what is held out, and those that are not wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from tuneline.data.reading.prompts import Prompt
from tuneline.data.text.overlap import HeldOut
from tuneline_generator.critic.critic import CriticTest, Opinion
from tuneline_generator.critic.duplicates import twins
from tuneline_generator.prepare import Prepared
from tuneline_generator.writing.items import id_of
from tuneline_generator.writing.recipe import ScriptsRecipe
from tuneline_generator.writing.rows import Row, Status


class Settled(NamedTuple):
    """All rows with their final statuses, in order, and the test prompts."""

    rows: list[Row]
    prompts: list[Prompt]


def settle(rows: Sequence[Row], prepared: Prepared, prompts: list[Prompt], test: CriticTest | None) -> Settled:
    """Give every row its status: what the critic says, of rows alike the first, and as many as are wanted."""
    held_out = HeldOut([*prepared.held_out, *(one.prompt for one in prompts)])
    settled, kept = list[Row](), 0
    scripts = isinstance(prepared.recipe, ScriptsRecipe)  # several are written about each source
    done = list(decided(rows, prepared, test))
    said = {row.item: row.response if scripts else row.asked for row in done if row.status == "kept"}
    found = dict(zip(said, twins([*said.values()]), strict=True))
    for row in done:
        if row.status != "kept":
            settled.append(row)
        elif twin := found[row.item]:
            what = "response" if scripts else "prompt"
            settled.append(replace(row, status=twin, detail=f"an earlier row has the same {what}, or nearly"))
        elif held_out.overlaps(row.asked):
            settled.append(replace(row, status="overlaps", detail="the prompt overlaps with one that is held out"))
        else:
            kept += 1
            settled.append(replace(row, status="kept" if kept <= prepared.params.count else "spare"))
    return Settled(settled, prompts)


def decided(rows: Iterable[Row], prepared: Prepared, test: CriticTest | None) -> Iterator[Row]:
    """Say of each row that the critic was asked about what follows from its margin."""
    asked = prepared.params.min_margin
    least = test.min_margin if test else 0.0 if asked == "auto" else asked
    for row in rows:
        if prepared.critic is None or row.mass is None or row.status != "kept":
            yield row
            continue
        accepted = Opinion(row.margin, row.mass, row.missing).accepts(least, prepared.critic.min_mass)
        status: Status = "unsure" if accepted is None else "kept" if accepted else "rejected"
        detail = {"unsure": "the critic says neither yes nor no", "rejected": f"the margin is below {least:g}"}
        yield replace(row, accepted=accepted, status=status, detail=detail.get(status, ""))


def chosen_prompts(rows: Iterable[Row], prepared: Prepared) -> list[Prompt]:
    """Return the test prompts: the first that are good, of different text, and held out nowhere else."""
    held_out = HeldOut(prepared.held_out)
    good = [row for row in rows if row.status == "kept"]
    different = (row for row, twin in zip(good, twins([row.prompt for row in good]), strict=True) if twin is None)
    fine = [row for row in different if not held_out.overlaps(row.prompt)]
    wanted = fine[: prepared.recipe.test_prompts]
    return [Prompt(id=id_of("test", row.item), prompt=row.prompt, category=row.category) for row in wanted]
