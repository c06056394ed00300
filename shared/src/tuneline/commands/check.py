"""The command `tuneline check`: all that is wrong with a run and its store, before anything expensive.

Without a run file it looks at the store alone: it writes, reads, lists and deletes a small file as the stages do. Of
two writers one must be refused: a server that ignores `If-None-Match` would let runs overwrite each other's results.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from tuneline.commands.stage import QuietOption, SetOption, configure_logging, exit_codes, read_run
from tuneline.errors import Temporary, UserError
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from tuneline.engine.checks import Findings
    from tuneline.engine.runfile import RunFile
    from tuneline.store.base import Store

STORE_HELP = "Where results will live; without it nothing but the run file is checked."


def check(
    file: Annotated[Path | None, typer.Argument(help="The run file (YAML).")] = None,
    store: Annotated[str | None, typer.Option(envvar="TUNELINE_STORE", help=STORE_HELP)] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask judge and simulator one real question each, which they may bill.")
    ] = False,
    settings: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Check a run file and all that it names: every problem of every stage at once, before anything expensive."""
    with exit_codes():
        findings, well = _found(file, store, settings or (), online=online)
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(findings), indent=1))
        elif not quiet:
            show(findings)
        findings.refuse()
        if not (as_json or quiet):
            typer.echo(well)


def _found(file: Path | None, store: str | None, settings: Sequence[str], *, online: bool) -> tuple[Findings, str]:
    """Return what was found, and what to say if that is nothing wrong."""
    from tuneline.engine.checks import Findings, Where, check_run
    from tuneline.engine.parameters import VARIABLE
    from tuneline.engine.runner import work_folder
    from tuneline.store.base import is_local, open_store

    of_a_workflow = file is None and bool(os.environ.get(VARIABLE))
    if file is None and store is None and not of_a_workflow:
        raise UserError("name a run file, or a store with --store")
    findings, opened = Findings(), open_store(store) if store else None
    if opened is not None:
        _try_store(opened, findings)
    if file is None and not of_a_workflow:
        return findings, f"{store}: works"
    run_file = read_run(file, None, store or "", findings.problems, settings)
    if opened is None and run_file.store:
        opened = open_store(run_file.store)
        _try_store(opened, findings)
    with tempfile.TemporaryDirectory(prefix="tuneline-", dir=os.environ.get("TUNELINE_SCRATCH")) as folder:
        here = not of_a_workflow and (opened is None or is_local(opened.uri))
        work = work_folder(opened) if opened else Path(tempfile.gettempdir())
        where = Where(Path(folder), work=work if here else None, online=online and not findings.problems)
        check_run(run_file, opened or open_store(f"{folder}/store"), where, findings=findings)
    return findings, f"{run_file.source.name}: nothing is wrong that can be known before it runs"


def read_checked(
    file: Path, run: str | None = None, settings: Sequence[str] | None = None, *, ours: bool = True
) -> RunFile:
    """Read a run file that is to be started. Of one with mistakes all that it names is checked too, and all is said.

    Raises UserError. `ours` as in `Where`.
    """
    from tuneline.engine.checks import Findings, Where, check_run
    from tuneline.store.base import open_store

    findings = Findings()
    run_file = read_run(file, run, "", findings.problems, settings or ())
    if findings.problems:
        with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
            check_run(run_file, open_store(f"{folder}/store"), Where(Path(folder), ours=ours), findings=findings)
        findings.refuse()
    return run_file


def check_store(store: Store) -> None:
    """Do once what stages do. Raises UserError that says what this store does not do, Temporary if it is not there."""
    key = f"checks/{uuid4().hex}"
    store.put(key, b"first", if_absent=True)  # an S3 store makes sure that a second one is refused
    try:
        if store.get(key) != b"first" or [entry.key for entry in store.list(key)] != [key]:
            raise UserError(f"{store.uri}: what is read or listed differs from what was written.")
    finally:
        store.delete([key])
    if store.get(key) is not None:
        raise UserError(f"{store.uri}: a file that was deleted is still there.")


def show(findings: Findings) -> None:
    """Print figures and warnings."""
    for line in [*findings.notes, *(f"warning: {text}" for text in findings.warnings)]:
        typer.echo(printable(line))


def _try_store(store: Store, findings: Findings) -> None:
    try:
        check_store(store)
    except UserError as e:
        findings.problems.append(str(e))
    except Temporary as e:
        findings.unreached.append(str(e))


if __name__ == "__main__":
    configure_logging()
    typer.run(check)
