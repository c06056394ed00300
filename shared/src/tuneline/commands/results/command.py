"""`tuneline compare`: two runs side by side, or all of a store in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneline.commands.stage import DEFAULT_STORE, EXIT_NO, StoreOption, exit_codes
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from tuneline.commands.results.differences import Between
    from tuneline.commands.results.gate import Decision
    from tuneline.stage.policy import Gate
    from tuneline.store.base import Store

SHOWN = 20
"""Changed answers that are listed; `--json` has all."""


def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Two runs: the one before, and the one to judge.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="A table of all evaluated runs, oldest first.")] = False,
    gate: Annotated[
        Path | None, typer.Option(help="A run file whose `gate` is applied; it ends with 3 where that says no.")
    ] = None,
    allow_unequal: Annotated[
        bool, typer.Option("--allow-unequal", help="Compare although rubric or judge differ; says so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare the fine-tuned models of two runs, by persona or prompt; or list all runs."""
    from tuneline.store.base import open_store

    with exit_codes():
        if everything == bool(runs) or (runs and len(runs) != 2):
            raise UserError("name two runs, or --all for a table of them")
        if everything and gate:
            raise UserError("--gate is for two runs")
        opened = open_store(store)
        if everything:
            _all(opened, as_json=as_json)
        elif runs:
            _two(opened, runs[0], runs[1], gate, allow_unequal=allow_unequal, as_json=as_json)


def _all(store: Store, *, as_json: bool) -> None:
    from tuneline.commands.results.history import history, history_lines

    rows = history(store)
    lines = [json.dumps([row.model_dump() for row in rows], indent=1)] if as_json else history_lines(rows)
    for line in lines:
        typer.echo(line if as_json else printable(line))


def _two(store: Store, first: str, second: str, file: Path | None, *, allow_unequal: bool, as_json: bool) -> None:
    from tuneline.commands.results.arms import read_side

    policy, sides = _policy(file) if file else None, (read_side(store, first), read_side(store, second))

    from tuneline.commands.results.differences import compare_sides  # it needs what read_side has looked for
    from tuneline.commands.results.gate import decide

    found = compare_sides(*sides, allow_unequal=allow_unequal)
    asked = set().union(*(side.compared.asked for side in sides))
    said = decide(policy, found.outcome, found.criteria, found.unit, found.significance, asked) if policy else None
    if as_json:
        typer.echo(json.dumps({**found.model_dump(), "gate": said and said.model_dump()}, indent=1))
    else:
        for line in between_lines(found, said):
            typer.echo(printable(line))
    if said and not said.passed:
        raise typer.Exit(EXIT_NO)


def _policy(file: Path) -> Gate:
    from tuneline.engine.runfile import read_run_file
    from tuneline.stage import installed_stages

    gate = read_run_file(file, installed_stages()).gate
    if gate is None:
        raise UserError(f"{file}: has no `gate`")
    return gate


def between_lines(found: Between, said: Decision | None) -> Iterator[str]:
    """Yield a page about two runs for a terminal."""
    from tuneline.commands.results.gate import p_text

    yield f"{found.first.run}: {found.first.label}"
    yield f"{found.second.run}: {found.second.label}"
    yield f"These are {found.relation}."
    yield f"{found.second.run} is {found.outcome}: {_evidence(found)}"
    yield from _about_safety(found)
    if found.base_drift is not None:
        yield f"The base model, the same in both runs, differs by {_points(found.base_drift)} points: judge and chance."
    yield from (f"Note: {note}" for note in found.notes)
    yield ""
    for row in sorted(found.criteria, key=lambda row: row.difference):
        if row.difference:
            yield (
                f"  {row.id}  {100 * row.first:.1f} to {100 * row.second:.1f} % met ({_points(row.difference)}), "
                f"p {p_text(row.p_holm)} (Holm)"
            )
    for flip in found.flips[:SHOWN]:
        yield f"  {flip.criterion}  {flip.persona}/{flip.trial}: {flip.first} to {flip.second}"
    if (more := len(found.flips) - SHOWN) > 0:
        yield f"  and {more} more changed answers (--json has all)"
    if said:
        yield from ("", *said.lines())


def _evidence(found: Between) -> str:
    if found.unscored_differ:
        (one, of), (other, of_other) = found.unscored
        return f"the models lose conversations at different rates ({one} of {of}, and {other} of {of_other})"
    score = found.score
    parts = [f"{_points(score.mean_difference)} points"]
    if ends := score.interval:
        parts[0] += f" ({100 * (1 - found.significance):g} % interval {_points(ends.low)} to {_points(ends.high)})"
    from tuneline.commands.results.gate import p_text

    return ", ".join([*parts, f"{score.personas} {found.unit}s", f"p {p_text(score.sign_flip_p)}"])


def _about_safety(found: Between) -> Iterator[str]:
    """Say what a gate decides, what too few decide, and which gates only the new model fails."""
    from tuneline.data.paired.power import enough_personas
    from tuneline.data.paired.safety import broken, failing_now, too_few

    if too_few(found.score, found.significance):
        few, fewest = f"{found.score.personas} {found.unit}s", enough_personas(found.significance)
        yield f"{few} can decide nothing, however large the difference: it takes {fewest}."
    if names := broken(found.safety):
        yield f"Safety is broken: {', '.join(names)}."
    for row in failing_now(found.safety):
        yield f"Only {found.second.run} fails {row.id}: {row.finetuned_failures} of {row.personas} {found.unit}s."


def _points(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:+.1f}"
