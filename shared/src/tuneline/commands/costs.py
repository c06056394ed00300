"""The ledger of a run, for people: what its calls to models took, by stage and role, now and in total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tuneline.engine.ledger import Paid, added_up, spendings
from tuneline.engine.records import Manifest
from tuneline.stage import Usage, dollars
from tuneline.store.base import Store


class Row(NamedTuple):
    """Calls of one role of one stage to one model."""

    stage: str
    role: str
    model: str
    paid: Paid
    """By all attempts of this run."""
    total: Usage
    """Of the result, whichever run paid."""


def ledger_of(store: Store, run: str, results: Mapping[str, Manifest]) -> list[Row]:
    """Return a row for each stage, role and model that the run paid for or whose answers are in its results."""
    paid: dict[str, list[Paid]] = {}
    for spending in spendings(store, run):
        paid.setdefault(spending.stage, []).extend(spending.paid)
    rows: list[Row] = []
    for stage in dict.fromkeys([*results, *paid]):
        by_name = {(p.role, p.model): p for p in added_up(paid.get(stage, []))}
        cost = results[stage].metrics.cost.rows if stage in results else ()
        totals = {(row.role, row.model): row.total for row in cost}
        for role, model in dict.fromkeys([*totals, *by_name]):
            now = by_name.get((role, model), Paid(role=role, model=model))
            rows.append(Row(stage, role, model, now, totals.get((role, model), Usage())))
    return rows


def ledger_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table; nothing if no model was called."""
    if not rows:
        return
    yield from aligned([_HEAD, *map(_cells, rows), ["in all", "", "", *_figures(rows)]])
    lost = sum(row.paid.lost for row in rows)
    if lost:
        most = sum(row.paid.lost_usd for row in rows)
        yield f"{lost} calls got no answer and may be billed: at most {dollars(most)}, not in the table."
    unpriced = {row.model for row in rows if row.paid.usage.unpriced or row.total.unpriced}
    if unpriced:
        named = ", ".join(sorted(unpriced))
        yield f"The price of {named} is not known and not counted: give `input_usd` and `output_usd`, 0 is free."


def spent_in_words(rows: Sequence[Row]) -> str:
    """Return what the run has paid, in one line; empty if no model was called."""
    parts = []
    for role in dict.fromkeys(row.role for row in rows):
        usage = sum((row.paid.usage for row in rows if row.role == role), start=Usage())
        parts.append(f"{role} {usage.usd} in {usage.calls:,} calls")
    if not rows:
        return ""
    paid, total = (sum(usd) for usd in ([r.paid.usage.cost_usd for r in rows], [r.total.cost_usd for r in rows]))
    return f"{dollars(paid)} paid by this run ({', '.join(parts)}), {dollars(total)} in its results"


def aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table with its columns aligned: words to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (c.ljust(w) if n < 3 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


_HEAD = ["calls to models", "role", "model", "calls", "input", "cached", "output", "paid by this run", "in the result"]


def _cells(row: Row) -> list[str]:
    return [row.stage, row.role, row.model, *_figures([row])]


def _figures(rows: Sequence[Row]) -> list[str]:
    paid, total = (sum(usages, start=Usage()) for usages in ((r.paid.usage for r in rows), (r.total for r in rows)))
    counts = (paid.calls, paid.input_tokens, paid.cached_tokens, paid.output_tokens)
    return [*(f"{count:,}" for count in counts), paid.usd, f"{total.usd} in {total.calls:,} calls"]
