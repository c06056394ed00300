"""The command `tuneline`: a whole run on one machine, and a look at what runs left in a store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from tuneline.commands.check import check, read_checked
from tuneline.commands.monitor import RunArgument, logs, ls, open_page, status, watch
from tuneline.commands.personas import personas_app
from tuneline.commands.removal.command import forget_command, gc, trace_command
from tuneline.commands.results.command import compare
from tuneline.commands.results.plan_eval import plan_eval
from tuneline.commands.stage import (
    DEFAULT_STORE,
    QuietOption,
    ReplaceOption,
    RunOption,
    SetOption,
    StoreOption,
    StoreOrFilesOption,
    apply_gate,
    configure_logging,
    exit_codes,
    leave_at_once,
    store_of,
)
from tuneline.commands.start.doctor import doctor
from tuneline.commands.start.init import init
from tuneline.commands.view import view
from tuneline.errors import StageFailed, UserError
from tuneline.parsing.problems import printable

FileArgument = Annotated[Path, typer.Argument(help="The run file (YAML).")]

app = typer.Typer(
    help="Turns conversations into a small model you can prove is better.",
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # its boxes take longer than all else before a command is known
)  # fmt: skip


def main() -> None:
    """Run the command line, with the keys that a file `.env` in the current folder gives."""
    from tuneline.commands.start.dotenv import read_env

    try:
        read_env(Path(".env"), os.environ)
    except UserError as e:
        typer.echo(printable(str(e)), err=True)
        raise SystemExit(2) from None
    leave_at_once()
    app()


def _version(wanted: bool) -> None:
    if wanted:
        import tuneline

        typer.echo(f"tuneline {tuneline.__version__}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turns conversations into a small model you can prove is better."""
    configure_logging()


@app.command()
def run(
    file: FileArgument,
    store: StoreOrFilesOption = None,
    run: RunOption = None,
    replace: ReplaceOption = False,
    at_once: Annotated[int, typer.Option(min=1, help="Stages that run at the same time, where the order allows.")] = 2,
    settings: SetOption = None,
    quiet: QuietOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the stages' logs.")] = False,
) -> None:
    """Run every stage that is not up to date. The same command resumes where it stopped."""
    from rich.console import Console

    from tuneline.commands.local import LocalRun, conclusion

    with exit_codes():
        run_file = read_checked(file, run, settings)
        console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        opened = store_of(run_file, store)
        try:
            worked = LocalRun(run_file, opened, replace, at_once, console, verbose).run()
        except StageFailed as e:
            raise typer.Exit(e.code) from None
        if not worked:
            typer.echo(f"Nothing to do: run {run_file.run} is up to date.")
        for line in conclusion(run_file, opened):
            typer.echo(line)
        apply_gate(run_file, opened)


app.command()(check)
app.command()(compare)
app.command()(init)
app.command()(doctor)
app.command()(plan_eval)


@app.command()
def plan(
    file: FileArgument,
    store: StoreOrFilesOption = None,
    run: RunOption = None,
    settings: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a run will take: calls, tokens, dollars and hours by stage, and what of it is paid for already."""
    from tuneline.commands.check import show as show_findings
    from tuneline.commands.plan import plan_of

    with exit_codes():
        run_file = read_checked(file, run, settings)
        found = plan_of(run_file, store_of(run_file, store))
        found.findings.notes.clear()  # they are part of the plan
        show_findings(found.findings)
        found.findings.refuse()
        for line in [json.dumps(found.json, indent=1)] if as_json else map(printable, found.lines):
            typer.echo(line)


@app.command()
def upload(file: FileArgument, store: StoreOption, quiet: QuietOption = False) -> None:
    """Put a run file's local inputs into a store, and print the run file with their addresses there."""
    from rich.console import Console

    from tuneline.commands.upload import to_yaml, upload_inputs
    from tuneline.store.base import open_store

    with exit_codes():
        console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        content = upload_inputs(read_checked(file, ours=False), open_store(store), console)
        typer.echo(to_yaml(content), nl=False)


for command in (ls, status, watch, logs):
    app.command()(command)
app.command("open")(open_page)
app.add_typer(personas_app, name="personas")
app.command()(view)


@app.command()
def show(
    run: RunArgument,
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests, by step, as JSON.")] = False,
) -> None:
    """Show what each stage of a run read, wrote, took and cost."""
    from tuneline.commands.show import results_of, run_lines
    from tuneline.store.base import open_store

    with exit_codes():
        opened = open_store(store)
        if as_json:
            found = {node: manifest.model_dump(mode="json") for node, manifest in results_of(opened, run).items()}
            typer.echo(json.dumps(found, indent=1))
            return
        for line in run_lines(opened, run):
            typer.echo(line)


@app.command()
def get(
    run: RunArgument,
    output: Annotated[str | None, typer.Argument(help="What to fetch, as stage/port: gguf-converter/model.")] = None,
    dest: Annotated[Path, typer.Argument(help="Folder to put it in.")] = Path(),
    release: Annotated[
        Path | None, typer.Option(help="New folder for all models of the run, with cards, hashes and a statement.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Fetch an output of a run, verified; or all that people need to run its models."""
    from tuneline.commands.show import fetch_output, output_note
    from tuneline.store.base import open_store

    with exit_codes():
        if (output is None) == (release is None):
            raise UserError("name one output of the run, as stage/port, or a folder with --release")
        opened = open_store(store)
        if release is not None:
            from tuneline.commands.release import write_release

            typer.echo(printable(write_release(opened, run, release)))
        elif output is not None:
            typer.echo(fetch_output(opened, run, output, dest))
            if note := output_note(opened, run, output):
                typer.echo(note, err=True)


@app.command("serve")
def serve_command(
    run: RunArgument,
    arm: Annotated[Literal["finetuned", "base"], typer.Option(help="Which model of the run.")] = "finetuned",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 is any that is free.")] = 0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Serve a run's model with llama-server, with the sampler, context and system prompt of its comparison."""
    import signal
    from contextlib import suppress

    from tuneline.commands.serve import serve_run
    from tuneline.store.base import open_store

    for number in (signal.SIGINT, signal.SIGTERM):  # what was fetched is removed then too; a shell's job ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    with exit_codes(), suppress(KeyboardInterrupt):
        serve_run(open_store(store), run, arm, port, lambda line: typer.echo(printable(line)))


app.command("trace")(trace_command)
app.command("forget")(forget_command)


@app.command()
def pairs(
    folder: Annotated[Path, typer.Argument(help="Folder of documents and recordings of the same names.")],
) -> None:
    """List documents with their recordings, how long they are, and what is missing. It only reads."""
    from importlib.metadata import entry_points

    with exit_codes():
        found = entry_points(group="tuneline.commands", name="pairs")
        if not found:
            raise UserError("tuneline-transcriber is not installed: it reads documents and recordings")
        for line in found["pairs"].load()(folder):
            typer.echo(line)


@app.command()
def judge_check(
    what: Annotated[str, typer.Argument(help="Name of a run, its run file, or a file of verdicts.")],
    labels: Annotated[Path | None, typer.Option(help="What people answered: JSON Lines or CSV.")] = None,
    retest: Annotated[int, typer.Option(min=0, help="Ask about so many transcripts once more (paid).")] = 0,
    order: Annotated[int, typer.Option(min=0, help="Ask about so many with criteria in another order (paid).")] = 0,
    second: Annotated[Path | None, typer.Option(help="File of a second judge, to be asked too (paid).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare a judge with people, with itself and with another judge."""
    from tuneline.commands.judge_check import Questions, check_lines
    from tuneline.commands.judge_check import judge_check as check
    from tuneline.store.base import open_store
    from tuneline.store.verify import plain_errors

    with exit_codes():
        found = check(what, open_store(store), labels, Questions(retest, order, second))
        if json_file:
            with plain_errors(json_file):
                json_file.write_text(found.model_dump_json(indent=1) + "\n")
        for line in check_lines(found):
            typer.echo(line)


app.command()(gc)
for one in (*app.registered_commands, *personas_app.registered_commands):
    one.short_help = one.callback.__doc__  # else the list of commands cuts it off at the end of a line
