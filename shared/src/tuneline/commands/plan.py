"""The command `tuneline plan`: what a run will take, before anything is paid, and what of it is paid already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.commands.costs import Row, aligned, ledger_of
from tuneline.engine.checks import Findings, Where
from tuneline.engine.plans import Plan, plan_run
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.engine.runfile import RunFile
from tuneline.stage import Json, dollars, rounded
from tuneline.store.base import Store


class Planned(NamedTuple):
    """Calls of one role of one stage: all of them, and those that are still to be made."""

    stage: str
    role: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """None: the price is not known."""
    left_calls: int
    left_usd: float | None
    left_seconds: float


class RunPlan(NamedTuple):
    """The plan of a run, for people and for programs, and what the checks found."""

    lines: list[str]
    json: dict[str, Json]
    """Dollars, seconds and tokens as numbers; a cost that is null has no known price."""
    findings: Findings


def plan_of(run_file: RunFile, store: Store) -> RunPlan:
    """Plan a run, beside what of it is made and paid for already."""
    results = {step.name: pinned_manifest(store, run_file.run, step.node) for step in run_file.steps}
    done = {name: manifest for name, manifest in results.items() if manifest is not None}
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        plan = plan_run(run_file, store, Where(Path(folder), ours=False), done)
    ledger = ledger_of(store, run_file.run, done)
    rows, paid_usd = planned(plan, done, ledger), sum(row.paid.most_usd for row in ledger)
    content: dict[str, Json] = {
        "run": run_file.run,
        "done": list(done),
        "notes": list(plan.findings.notes),
        "calls": [row._asdict() for row in rows],
        "total": _sum(rows)._asdict(),
        "paid_usd": paid_usd,
        "max_usd": run_file.max_usd,
    }
    return RunPlan(list(_lines(run_file, plan, done, rows, paid_usd)), content, plan.findings)


def planned(plan: Plan, done: Mapping[str, Manifest], ledger: Sequence[Row]) -> list[Planned]:
    """Return a row for each stage and role: of what is done as it was, of the rest as it is expected."""
    rows = [_made(row) for row in ledger if row.stage in done]
    paid = {(row.stage, row.role, row.model): row.paid.usage for row in ledger}
    for stage, one in plan.forecasts:
        calls = one.total.calls - one.held.calls
        share = 1.0  # of the calls, that a stage cannot find in a journal before it works
        if not one.held.calls and (spent := paid.get((stage, one.role, one.model))) and calls:
            share = max(0, calls - spent.calls) / calls
        rows.append(
            Planned(
                stage, one.role, one.model, one.total.calls, one.total.input_tokens, one.total.output_tokens,
                None if one.total.unpriced else one.total.cost_usd, round(calls * share),
                None if one.left_usd is None else one.left_usd * share, one.left_seconds * share,
            )
        )  # fmt: skip
    return rows


def _made(row: Row) -> Planned:
    total = row.total
    usd = None if total.unpriced else total.cost_usd
    return Planned(
        row.stage, row.role, row.model, total.calls, total.input_tokens, total.output_tokens, usd, 0, 0.0, 0.0
    )


def _lines(
    run_file: RunFile, plan: Plan, done: Mapping[str, Manifest], rows: Sequence[Planned], paid_usd: float
) -> Iterator[str]:
    if done:
        yield f"done: {', '.join(done)}"
    yield from plan.findings.notes
    if not rows:
        yield "No stage that is left calls a model, so nothing is paid for."
        return
    yield ""
    yield from aligned([_HEAD, *map(_cells, rows), _cells(_sum(rows))])
    yield ""
    yield from _remarks(run_file, rows, paid_usd)


def _remarks(run_file: RunFile, rows: Sequence[Planned], paid_usd: float) -> Iterator[str]:
    from tuneline.llm.forecast import CALL_SECONDS, TOKENS_READ, TOKENS_WRITTEN
    from tuneline.llm.token_counts import counted_by

    total = _sum(rows)
    yield (
        f"Tokens {counted_by()}; without what a model thinks before it answers, answers asked for twice and prompt "
        f"caches, unless the journal shows them. Hours at {CALL_SECONDS:g} s a call and {TOKENS_WRITTEN:g} tokens "
        f"written, {TOKENS_READ:,.0f} read a second, without the answers of your own models; a batch may take a day."
        + " How long training takes stands above."
        * any(step.stage.name == "trainer" for step in run_file.steps)
    )
    unknown = dict.fromkeys(row.model for row in rows if row.usd is None)
    if unknown:
        yield f"The price of {', '.join(unknown)} is not known: give `input_usd` and `output_usd`, 0 is free."
    if paid_usd:
        yield f"This run has paid {dollars(paid_usd)} so far."
    if run_file.max_usd is not None and total.left_usd is not None:
        left = run_file.max_usd - paid_usd
        enough = "leaves enough" if total.left_usd <= left else "is too little: the run will stop before it is done"
        yield f"max_usd: {dollars(run_file.max_usd)} {enough}."


def _sum(rows: Sequence[Planned]) -> Planned:
    usd, left = ([row.usd for row in rows], [row.left_usd for row in rows])
    return Planned(
        "in all", "", "", sum(r.calls for r in rows), sum(r.input_tokens for r in rows),
        sum(r.output_tokens for r in rows), None if None in usd else sum(filter(None, usd)),
        sum(r.left_calls for r in rows), None if None in left else sum(filter(None, left)),
        sum(r.left_seconds for r in rows),
    )  # fmt: skip


_HEAD = ["stage", "role", "model", "calls", "input", "output", "cost", "left: calls", "cost", "hours"]


def _cells(row: Planned) -> list[str]:
    usd, left = ("not known" if cost is None else dollars(cost) for cost in (row.usd, row.left_usd))
    counts = (row.calls, row.input_tokens, row.output_tokens)
    hours = rounded(row.left_seconds / 3600)
    return [row.stage, row.role, row.model, *(f"{n:,}" for n in counts), usd, f"{row.left_calls:,}", left, hours]
