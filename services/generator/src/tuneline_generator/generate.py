"""Writes the rows of a recipe: as a pilot, as a part, or all of them.

A part fills journals and nothing else. The stage itself does the same for all items, which finds what parts have paid
for, and is then the merge: duplicates, overlap, gates, files.
"""

from __future__ import annotations

import time

from tuneline.data.reading.prompts import Prompt
from tuneline.errors import UserError
from tuneline.stage import Context, Cost, Json, Metrics, Spent, Usage, dollars
from tuneline_generator.by_judge import Bench, read_bench
from tuneline_generator.conversations import Conversations
from tuneline_generator.fill import Filled
from tuneline_generator.prepare import Prepared, prepare
from tuneline_generator.publish import NO_CRITIC, judged, metrics, refuse_failed, write_all
from tuneline_generator.settle import chosen_prompts, settle
from tuneline_generator.stage import GeneratorInputs, GeneratorOutputs, GeneratorParams
from tuneline_generator.work import Desk, open_desk


def generate(params: GeneratorParams, inputs: GeneratorInputs, outputs: GeneratorOutputs, context: Context) -> Metrics:
    """Write the rows and say what they are worth.

    Raises UserError for a recipe or a writer that cannot be used, for a pilot or rows that do not pass a gate, and when
    the money is spent; Temporary when stopped or out of luck.
    """
    prepared = prepare(params, inputs, context.part)
    bench = read_bench(inputs.judge, inputs.rubric, context.secret) if prepared.by_judge else None
    with open_desk(prepared, context) as desk:
        began = time.monotonic()
        filled = desk.fill(prepared.scale.mine)
        refuse_unpaid(filled, prepared, desk)
        spent = Cost()
        if bench:
            filled, spent = judged_by(bench, filled, desk)
        seconds = time.monotonic() - began + desk.found_s
        if prepared.part:
            return _of_part(filled, desk, spent)
        prompts = prepared.pilot_prompts if prepared.pilot else set_aside(prepared, desk)
        test = prepared.pilot.critic if prepared.pilot else desk.test_critic(filled.rows)
    settled = settle(filled.rows, prepared, prompts, test)
    quality = judged(settled, prepared, test, constant_of(prepared, desk), desk.usd, seconds)
    if not quality.pilot:
        refuse_failed(quality)
    write_all(settled, quality, outputs, desk.critic.label if desk.critic else NO_CRITIC)
    return metrics(settled, quality, cost_of(filled, desk, spent), params.count)


def refuse_unpaid(filled: Filled, prepared: Prepared, desk: Desk) -> None:
    """Raise UserError when the money was spent before all items were written."""
    share, count, part = desk.budget.share_usd, len(prepared.scale.mine), prepared.part
    if filled.unpaid and share is not None:
        done, who = count - filled.unpaid, f"part {part.number} of {part.of}" if part else "all"
        less = "" if prepared.pilot is None else f", or take `count` {prepared.params.count * done // count:,}"
        raise UserError(
            f"max_usd: {who} spent {dollars(desk.budget.spent_usd)} of {dollars(share)} after {done:,} of {count:,} "
            f"items; what is paid is kept. Raise `max_usd`{less}."
        )


def set_aside(prepared: Prepared, desk: Desk) -> list[Prompt]:
    """Write the prompts for a comparison."""
    written = desk.test_prompts()
    return chosen_prompts(written.rows, prepared)


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
    desk.budget.count(judged.spent.cost_usd)
    return filled._replace(rows=rows), judged.cost


def _of_part(filled: Filled, desk: Desk, spent: Cost) -> Metrics:
    good = sum(row.status == "kept" for row in filled.rows)
    headline = f"{len(filled.rows):,} items written, {good:,} of them well-formed"
    return Metrics(headline=headline, cost=cost_of(filled, desk, spent))


def cost_of(filled: Filled, desk: Desk, spent: Cost) -> Cost:
    """Return what the rows took, whoever paid for them, and what was paid now."""
    written = sum((row.usage for row in filled.rows), start=Usage())
    paid = [Spent(role="generator", model=desk.writer.label, total=written, now=desk.pen.spent_now)]
    if desk.critic:
        heard = sum((row.critic_usage for row in filled.rows), start=Usage())
        paid.append(Spent(role="critic", model=desk.critic.label, total=heard, now=desk.critic.spent_now))
    if isinstance(desk.author, Conversations):
        total = sum((row.simulated for row in filled.rows), start=Usage())
        told = desk.author.simulator.cost([]).rows
        paid += [Spent(role=row.role, model=row.model, total=total, now=row.now) for row in told]
    return Cost.of(*paid, *spent.rows)
