"""Commands that look at runs from anywhere: `ls`, `status`, `watch`, `logs`, `open`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneline.commands.stage import DEFAULT_STORE, StoreOption, exit_codes
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from tuneline.commands.status import RunStatus

RunArgument = Annotated[str, typer.Argument(help="Name of the run.")]
TimeoutOption = Annotated[
    str | None, typer.Option(help="Give up after this time, as 90s, 30m or 2h, with exit code 75.")
]


def ls(
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs of a store, the last sign of life first."""
    from tuneline.commands.status import all_runs
    from tuneline.commands.watch import run_list
    from tuneline.store.base import open_store

    with exit_codes():
        opened = open_store(store)
        if as_json:
            typer.echo(json.dumps([run.model_dump(mode="json") for run in all_runs(opened)], indent=1))
            return
        lines = list(run_list(opened))
        for line in lines:
            typer.echo(line)
        if not lines:
            typer.echo(f"{opened.uri} has no runs; another store is named with --store", err=True)


def status(
    run: Annotated[str | None, typer.Argument(help="Name of the run; without it, all runs are listed.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    until_over: Annotated[
        bool, typer.Option("--wait", help="Return when the run is over: 0, 2 failed, 75 else.")
    ] = False,
    timeout: TimeoutOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page that shows the same.")] = None,
) -> None:
    """Say what each step of a run is doing, wherever it runs; it needs to read the store and nothing else."""
    from tuneline.commands.status import status_of
    from tuneline.commands.watch import page_of, refuse_unfinished, seconds_of, status_lines, wait
    from tuneline.store.base import open_store
    from tuneline.store.verify import plain_errors

    with exit_codes():
        opened = open_store(store)
        if run is None:
            if until_over or html:
                raise UserError("name a run; without one, all are listed")
            ls(store, as_json)
            return

        def show(found: RunStatus) -> None:
            if html:
                with plain_errors(html):
                    html.write_text(page_of(found), encoding="utf-8")

        seconds = seconds_of(timeout) if timeout else None
        found = wait(opened, run, seconds, show) if until_over else status_of(opened, run)
        show(found)
        for line in [found.model_dump_json(indent=1)] if as_json else status_lines(found):
            typer.echo(line)
        if until_over:
            refuse_unfinished(found)


def watch(run: RunArgument, store: StoreOption = DEFAULT_STORE, timeout: TimeoutOption = None) -> None:
    """Show a run's status until it is over: redrawn in a terminal, else a line for each change."""
    from tuneline.commands.watch import refuse_unfinished, seconds_of, wait
    from tuneline.store.base import open_store

    with exit_codes(), _drawing() as draw:
        refuse_unfinished(wait(open_store(store), run, seconds_of(timeout) if timeout else None, draw))


def logs(
    run: RunArgument,
    step: Annotated[str, typer.Argument(help="The step, as `status` names it.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print the last log of a step that ended on this machine."""
    from tuneline.engine.layout import run_key
    from tuneline.store.base import is_local, local_path, open_store

    with exit_codes():
        opened = open_store(store)
        if not is_local(opened.uri):
            raise UserError(
                f"{opened.uri} holds no logs; those of a workflow are its pods': argo logs -n NAMESPACE WORKFLOW"
            )
        folder = local_path(opened.uri) / run_key(run, "logs")
        log = folder / f"{step.replace('/', '.')}.log"
        there = sorted(path.stem for path in folder.glob("*.log"))
        if log.stem not in there:
            raise UserError(f"run {run} has no log of {step}; it has {', '.join(there) or 'none'}")
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            typer.echo(printable(line))


def open_page(run: RunArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Open a run's pages in the browser, and print where they lie."""
    from tuneline.commands.show import no_run, pages_of, pinned_of
    from tuneline.store.base import is_local, open_store

    with exit_codes():
        opened = open_store(store)
        results = pinned_of(opened, run)
        if not results:
            raise no_run(opened, run)
        pages = [page for node, made in results.items() for page in pages_of(opened, run, node, made).values()]
        if not pages:
            raise UserError(f"run {run} has no page yet; tuneline status {run} says how far it is")
        for place in pages:
            typer.echo(printable(place))
            if is_local(opened.uri) and sys.stdout.isatty():
                import webbrowser

                webbrowser.open(Path(place).as_uri())


@contextmanager
def _drawing() -> Iterator[Callable[[RunStatus], None]]:
    """Draw each status over the one before in a terminal; elsewhere print the lines that changed."""
    from tuneline.commands.watch import status_lines

    if not sys.stdout.isatty():
        before: dict[str, tuple[str, str]] = {}

        def told(found: RunStatus) -> None:
            lines = list(status_lines(found))
            for step, line in zip(found.steps, lines[1:], strict=True):
                news = (step.state, step.text if step.state != "running" else "")
                if before.get(step.step) != news:
                    typer.echo(line)
                before[step.step] = news

        yield told
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        yield lambda found: live.update(Text("\n".join(status_lines(found, live.console.width))), refresh=True)
