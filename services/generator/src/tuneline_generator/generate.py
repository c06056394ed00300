"""Writes the rows of a recipe: as a pilot, as a part, or all of them.

A part fills journals and nothing else. The stage itself does the same for all items, which finds what parts have paid
for, and is then the merge: duplicates, overlap, gates, files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tuneline.data.reading.prompts import Prompt
from tuneline.errors import Capped, UserError
from tuneline.stage import Context, Cost, Json, Metrics, Spent, Usage, dollars
from tuneline_generator.critic.by_judge import Bench, read_bench
from tuneline_generator.fill import Filled
from tuneline_generator.prepare import Prepared, prepare
from tuneline_generator.publish import NO_CRITIC, judged, metrics, refuse_failed, write_all
from tuneline_generator.recipes.conversations import Conversations
from tuneline_generator.report.found import Quality
from tuneline_generator.settle import chosen_prompts, settle
from tuneline_generator.stage import GeneratorInputs, GeneratorOutputs, GeneratorParams
from tuneline_generator.work import Desk, open_desk
from tuneline_generator.writing.rows import Row

ROUNDS = 4
"""How often test prompts are written at most, until enough of them are good."""


def generate(params: GeneratorParams, inputs: GeneratorInputs, outputs: GeneratorOutputs, context: Context) -> Metrics:
    """Write the rows and say what they are worth.

    Raises UserError for a recipe or a writer that cannot be used, for a pilot or rows that do not pass a gate, and when
    the money is spent; Temporary when stopped or out of luck.
    """
    prepared = prepare(params, inputs, context.part)
    bench = read_bench(inputs.judge, inputs.rubric, context.secret) if prepared.by_judge else None
    try:
        with open_desk(prepared, context) as desk:
            constant = constant_of(prepared, desk)
            refuse_other(prepared.pilot, constant)
            filled = desk.fill(prepared.scale.mine)
            refuse_unpaid(filled, prepared)
            seconds, spent = filled.seconds + desk.found_s, Cost()
            if bench:
                began = time.monotonic()
                filled, spent = judged_by(bench, filled, desk)
                seconds += time.monotonic() - began
            if prepared.part:
                return _of_part(filled, desk, spent)
            prompts = prepared.pilot_prompts if prepared.pilot else set_aside(prepared, desk)
            test = prepared.pilot.critic if prepared.pilot else desk.test_critic(filled.rows)
    except Capped as e:
        raise UserError(_told(e, prepared, "", "lower `count`")) from None
    cost = cost_of(filled, desk, spent)
    settled = settle(filled.rows, prepared, prompts, test)
    quality = judged(settled, prepared, test, constant, usd_of(filled, desk, spent), seconds)
    if not quality.pilot:
        refuse_failed(quality)
    write_all(settled, quality, outputs, prepared.recipe.kind, desk.critic.label if desk.critic else NO_CRITIC)
    return metrics(settled, quality, cost, params.count)


def refuse_other(pilot: Quality | None, constant: Mapping[str, Json]) -> None:
    """Raise UserError for a pilot that is given and says nothing of these rows: of another recipe or writer."""
    if pilot is None:
        return
    made = _made_with(pilot.constant)
    for name, mine in _made_with(constant).items():
        if made[name] != mine:
            raise UserError(f"pilot: it was made with another {name}; give the pilot of this one, or leave it out")


def _made_with(constant: Mapping[str, Json]) -> dict[str, Json]:
    writer = constant.get("writer")
    return {
        "recipe": constant.get("recipe"), "writer": writer.get("identity") if isinstance(writer, dict) else None
    }  # fmt: skip


def refuse_unpaid(filled: Filled, prepared: Prepared) -> None:
    """Raise UserError when the money was spent before all items were written."""
    if filled.capped:
        done, count = len(filled.rows), len(prepared.scale.mine)
        fewer = f"`count` {prepared.params.count * done // count:,}" if prepared.pilot else "a smaller `pilot`"
        raise UserError(_told(filled.capped, prepared, f" after {done:,} of {count:,} items", f"take {fewer}"))


def _told(capped: Capped, prepared: Prepared, when: str, or_else: str) -> str:
    part = prepared.part
    who = f"part {part.number} of {part.of}" if part else "all"
    return (
        f"max_usd: {who} spent {dollars(capped.spent_usd)} of {dollars(capped.limit_usd)}{when}; what is paid is kept. "
        f"The next call may cost up to {dollars(capped.most_usd)}: raise `max_usd`, or {or_else}."
    )


def set_aside(prepared: Prepared, desk: Desk) -> list[Prompt]:
    """Write the prompts for a comparison, more of them while too few are good.

    Raises Capped when there is no money for all.
    """
    rows, chosen = list[Row](), list[Prompt]()
    for _ in range(ROUNDS):
        written, before = desk.test_prompts(len(rows)), len(chosen)
        if written.capped:
            raise written.capped
        rows += written.rows
        chosen = chosen_prompts(rows, prepared)
        missing = prepared.recipe.test_prompts - len(chosen)
        if missing <= 0 or (len(chosen) - before) * ROUNDS < missing:  # the rest would take more
            break
    return chosen


def constant_of(prepared: Prepared, desk: Desk) -> dict[str, Json]:
    """Return what all rows have in common."""
    return {
        "recipe": prepared.recipe.model_dump(mode="json", exclude={"examples"}),
        "writer": {"name": desk.writer.label, "identity": desk.writer.identity},
        "critic": prepared.critic.model_dump(mode="json") | {"name": desk.critic.label}
        if prepared.critic and desk.critic
        else None,
        "guard": [check.model_dump(mode="json") for check in desk.guarded],
    }  # fmt: skip


def judged_by(bench: Bench, filled: Filled, desk: Desk) -> tuple[Filled, Cost]:
    """Let a judge decide on the rows. Raises as `judge_all` does."""
    params = desk.prepared.params
    rows, judged = bench.judge_rows(
        filled.rows, desk.context, concurrency=params.concurrency, timeout_s=params.timeout_s
    )
    if judged is None:
        return filled, Cost()
    return filled._replace(rows=rows), judged.cost


def _of_part(filled: Filled, desk: Desk, spent: Cost) -> Metrics:
    good = sum(row.status == "kept" for row in filled.rows)
    headline = f"{len(filled.rows):,} items written, {good:,} of them well-formed"
    return Metrics(headline=headline, cost=cost_of(filled, desk, spent))


def usd_of(filled: Filled, desk: Desk, spent: Cost) -> float | None:
    """Return what all of it took, whoever paid for it, `spent` being the judge's; None: a price is not known."""
    simulated = sum((row.simulated for row in filled.rows), start=Usage())
    taken = sum((row.total for row in spent.rows), start=desk.taken + simulated)
    return None if taken.unpriced else taken.cost_usd


def cost_of(filled: Filled, desk: Desk, spent: Cost) -> Cost:
    """Return what the rows took, whoever paid for them, and what was paid now."""
    written = sum((row.usage for row in filled.rows), start=Usage())
    paid = [Spent(role="generator", model=desk.writer.label, total=written, now=desk.pen.tally.spent_now)]
    if desk.critic:
        heard = sum((row.critic_usage for row in filled.rows), start=Usage())
        paid.append(Spent(role="critic", model=desk.critic.label, total=heard, now=desk.critic.tally.spent_now))
    if isinstance(desk.author, Conversations):
        total = sum((row.simulated for row in filled.rows), start=Usage())
        told = desk.author.simulator.cost([]).rows
        paid += [Spent(role=row.role, model=row.model, total=total, now=row.now) for row in told]
    return Cost.of(*paid, *spent.rows)
