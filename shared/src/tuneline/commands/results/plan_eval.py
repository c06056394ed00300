"""The command `tuneline plan-eval`: how many personas and trials a comparison takes to show a difference, and what it
costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tuneline.commands.stage import DEFAULT_STORE, StoreOption, exit_codes
from tuneline.errors import UserError

if TYPE_CHECKING:
    from tuneline.data.paired.planning import Spread
    from tuneline.store.base import Store

TRIALS = (1, 2, 3, 5)


class Known(NamedTuple):
    """What is planned with."""

    spread: Spread
    personas: int | None
    """That showed it; None where it is assumed."""
    usd: float | None
    """For one conversation with each arm and its judging; None where that is not known."""
    source: str


def plan_eval(
    mde: Annotated[float, typer.Option(min=0.01, max=100, help="True difference to be found, in points of 100.")],
    run: Annotated[str | None, typer.Argument(help="An earlier run, whose personas say how differences vary.")] = None,
    sd: Annotated[
        float | None, typer.Option(min=0, max=100, help="Else: how the difference varies by persona, in points.")
    ] = None,
    within: Annotated[float, typer.Option(min=0, max=200, help="With --sd: from trial to trial, in points.")] = 0.0,
    usd: Annotated[float | None, typer.Option(min=0, help="Dollars for one conversation with each arm.")] = None,
    significance: Annotated[float, typer.Option(min=0.001, max=0.2)] = 0.05,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Say how many personas, trials and dollars it takes to show a difference four times out of five."""
    with exit_codes():
        if (run is None) == (sd is None):
            raise UserError("Name an earlier run, or say --sd, how the difference varies by persona: one of the two.")
        for line in _lines(mde / 100, _known(run, sd, within, usd, store), significance):
            typer.echo(line)


def _known(run: str | None, sd: float | None, within: float, usd: float | None, store: str) -> Known:
    try:
        from tuneline.data.paired.planning import Spread
    except ImportError:
        raise UserError("Planning needs scipy: pip install 'tuneline[statistics]'") from None
    from tuneline.store.base import open_store

    if run is None:
        return Known(Spread((sd or 0) / 100, within / 100), None, usd, "as assumed")
    known = _of_run(open_store(store), run)
    return known if usd is None else known._replace(usd=usd)


def _of_run(store: Store, run: str) -> Known:
    from tuneline.commands.results.rows import read_rows, result_in
    from tuneline.commands.show import results_of
    from tuneline.data.paired.planning import Trial, spread_of

    manifest = result_in(run, results_of(store, run), "evaluator")
    rows = read_rows(store, manifest, "verdicts", Trial)
    found = spread_of(rows)
    if found is None:
        raise UserError(f"{run}: fewer than two personas have a score in both arms, so nothing varies. Say --sd.")
    cost = manifest.metrics.cost
    pairs = len({(row.persona, row.trial) for row in rows})
    priced = not any(row.total.unpriced for row in cost.rows)
    usd = sum(row.total.cost_usd for row in cost.rows) / pairs if priced else None
    return Known(found.spread, found.personas, usd, f"as in {run}, over {found.personas} personas")


def _lines(difference: float, known: Known, significance: float) -> Iterator[str]:
    from tuneline.data.paired.planning import people_for, spread_limits

    spread = known.spread
    yield f"To find a true difference of {difference * 100:g} points four times out of five, with p < {significance:g}:"
    yield (
        f"a difference varies by {spread.between * 100:.1f} points among personas"
        + (f" and {spread.within * 100:.1f} from trial to trial" if spread.within else "")
        + f" ({known.source})."
    )
    yield f"{'trials':>6}  {'personas':>9}  {'conversations':>13}  dollars"
    for trials in TRIALS if spread.within else TRIALS[:1]:
        n = people_for(difference, spread.of(trials), significance)
        talks = None if n is None else 2 * n * trials
        cost = None if n is None or known.usd is None else n * trials * known.usd
        yield f"{trials:>6}  {_count(n):>9}  {_count(talks):>13}  {'not known' if cost is None else f'{cost:,.2f}'}"
    if known.personas is not None:
        low, high = (people_for(difference, one, significance) for one in spread_limits(spread.of(1), known.personas))
        yield (
            f"{known.personas} personas say how they vary only roughly: with one trial it may take from {_count(low)} "
            f"to {_count(high)} personas."
        )
    if not spread.within:
        yield "What more trials would help is not known: it takes a run with two trials or more, or --within."


def _count(number: int | None) -> str:
    return "> 1,000,000" if number is None else f"{number:,}"
