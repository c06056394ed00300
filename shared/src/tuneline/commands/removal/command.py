"""The commands that follow transcripts through a store, and those that take things out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneline.commands.stage import DEFAULT_STORE, StoreOption, exit_codes
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

IdsArgument = Annotated[list[str] | None, typer.Argument(help="Ids of transcripts; * and ? stand for any characters.")]
FromOption = Annotated[Path | None, typer.Option("--from", help="A file with more ids, one per line.")]


def trace_command(
    ids: IdsArgument = None,
    store: StoreOption = DEFAULT_STORE,
    from_file: FromOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show everything in a store that holds a transcript, or was made with it."""
    from tuneline.commands.removal.trace import ids_in, read_ids, to_json, trace_lines
    from tuneline.engine.lineage import trace
    from tuneline.store.base import open_store

    with exit_codes():
        opened = open_store(store)
        found = trace(opened, read_ids(ids, from_file), ids_in)
        for line in [to_json(opened, found)] if as_json else trace_lines(opened, found):
            typer.echo(line)


def forget_command(
    ids: IdsArgument = None,
    store: StoreOption = DEFAULT_STORE,
    from_file: FromOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only show what is affected.")] = False,
) -> None:
    """Take transcripts out of a store: rows, slices, judgements, uploads; mark the models that were made with them."""
    from tuneline.commands.removal.forget import forget
    from tuneline.commands.removal.trace import ids_in, published, read_ids, trace_lines
    from tuneline.engine.lineage import trace
    from tuneline.store.base import open_store

    with exit_codes():
        opened = open_store(store)
        found = trace(opened, read_ids(ids, from_file), ids_in)
        elsewhere = [*found.given, *published(opened, found)]
        for line in trace_lines(opened, found):
            typer.echo(line)
        if not yes:
            raise UserError("Nothing was changed. Add --yes to forget them.")
        for line in forget(opened, found):
            typer.echo(printable(line))
        for uri in elsewhere:
            typer.echo(printable(f"Not in this store: {uri}. Take them out there yourself."))


def gc(
    store: StoreOption = DEFAULT_STORE,
    days: Annotated[float, typer.Option(min=0, help="Keep everything younger than this.")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
) -> None:
    """Remove results and uploads that no run pins, and what killed attempts left behind."""
    from tuneline.commands.removal.gc import collect
    from tuneline.commands.show import size
    from tuneline.store.base import open_store

    with exit_codes():
        swept = collect(open_store(store), days, dry_run=dry_run)
        verb = "would remove" if dry_run else "removed"
        typer.echo(f"{verb} {swept.results} results, {swept.files} files, {size(swept.size)}")
