"""The command line of one stage, `tuneline-<stage> run` and `schema`, and how errors become exit codes."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneline.errors import Temporary, UserError, frames_of
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from tuneline.engine.layout import Node
    from tuneline.engine.pipelines import Step
    from tuneline.engine.runfile import RunFile
    from tuneline.engine.runner import Outcome
    from tuneline.stage import AnyStage, Metrics, Part
    from tuneline.store.base import Store

EXIT_USER_ERROR, EXIT_TEMPORARY, EXIT_BUG = 2, 75, 1
EXIT_NO = 3
"""All was made, and the run file's `gate` says no: asking again changes nothing."""
COMPARES = "evaluator"
"""The stage whose result a `gate` is about."""

FileOption = Annotated[
    Path | None, typer.Option("--file", help="The run file (YAML); without it, RUN_FILE as a workflow sets it.")
]
StoreOption = Annotated[
    str, typer.Option(envvar="TUNELINE_STORE", help="Where results live: a folder, file:///… or s3://bucket/prefix.")
]
DEFAULT_STORE = "tuneline-store"
StoreOrFilesOption = Annotated[
    str | None,
    typer.Option(
        envvar="TUNELINE_STORE",
        help="Where results live (default: the run file's `store`, or ./tuneline-store).",
    ),
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="Name of the run (default: the file's `run`, or its stem).")
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Move the run to new results where settings changed.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file, as trainer.epochs=1; repeatable."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print what came out, or is wrong, and nothing else.")]
VariantOption = Annotated[str | None, typer.Option(help="Variant of the stage; `schema` lists them.")]
ShardOption = Annotated[str, typer.Option(help="Of a sharded stage, the shard to make, as 3/10.")]
PartOption = Annotated[
    str, typer.Option(help="Do one part of the work, as 3/10; the whole stage finds what it paid for.")
]
ScratchOption = Annotated[Path | None, typer.Option(envvar="TUNELINE_SCRATCH", help="Folder for work files.")]
OutputsOption = Annotated[
    Path | None, typer.Option(envvar="TUNELINE_OUTPUTS", help="Folder for the headline and pages' addresses as files.")
]


def stage_main(stage: AnyStage) -> None:
    """Run the command line of `stage`."""
    leave_at_once()
    configure_logging()
    app = typer.Typer(
        help=f"Tuneline stage {stage.name}. It reads and writes through a store; `schema` lists ports and parameters.",
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    )  # fmt: skip

    @app.command()
    def run(
        store: StoreOption,
        file: FileOption = None,
        run: RunOption = None,
        variant: VariantOption = None,
        shard: ShardOption = "",
        part: PartOption = "",
        scratch: ScratchOption = None,
        outputs: OutputsOption = None,
        replace: ReplaceOption = False,
        settings: SetOption = None,
    ) -> None:
        """Make this stage's result for a run, or find it made. The same command resumes where it stopped."""
        with exit_codes():
            from tuneline.engine.layout import Node

            node = Node(stage.name, variant or None, _share(shard))
            if part and not stage.parts:
                raise UserError(f"--part {part}: {stage.name} cannot be done in parts")
            run_file = read_run(file, run, store, settings=settings or ())
            _run(run_file, node, _share(part), store, scratch, outputs, replace=replace)

    @app.command()
    def schema() -> None:
        """Print the stage's version, ports and JSON schema of its parameters."""
        typer.echo(json.dumps(schema_of(stage), indent=1))

    app()


def leave_at_once() -> None:
    """Let this process end without a search of all that it holds, which takes two seconds where torch is loaded.

    The system takes the memory back anyway. What others have to do at the end is done before.
    """
    atexit.register(gc.freeze)


def read_run(
    file: Path | None, run: str | None, store: str, wrong: list[str] | None = None, settings: Sequence[str] = ()
) -> RunFile:
    """Read the run file from `file` or, without one, from RUN_FILE; then only mounted data and the store are read.

    `wrong` and `settings` as in `read_run_file`.
    """
    from tuneline.engine.parameters import VARIABLE
    from tuneline.engine.runfile import read_run_file, read_run_parameters
    from tuneline.stage import installed_stages
    from tuneline.store.base import is_local, local_path

    if file is not None:
        return read_run_file(file, installed_stages(), run, wrong, settings)
    if settings:
        raise UserError("--set replaces values of a file; name it with --file")
    if encoded := os.environ.get(VARIABLE):
        folders = [f for f in os.environ.get("TUNELINE_DATA", "/data").split(":") if f]
        folders += [store] if store and is_local(store) else []
        data = tuple(local_path(folder).resolve() for folder in folders)
        return read_run_parameters(encoded, installed_stages(), run, os.environ.get("WORKFLOW"), data, wrong)
    raise UserError(f"name a run file with --file; {VARIABLE}, where a workflow puts it, is not set either")


def store_of(run_file: RunFile, store: str | None) -> Store:
    """Open the store that was asked for, else that of the run file, else the folder of that name here."""
    from tuneline.store.base import open_store

    return open_store(store or run_file.store or DEFAULT_STORE)


def _share(text: str) -> Part | None:
    from tuneline.stage import Part

    part = Part.parse(text)
    if text and part is None:
        raise UserError(f"{text!r} is not a part; 3/10 is the third of ten")
    return part


def _run(
    run_file: RunFile, node: Node, part: Part | None, store: str, scratch: Path | None, outputs: Path | None,
    *, replace: bool,
) -> None:  # fmt: skip
    from tuneline.commands.show import essence
    from tuneline.engine.runner import do_part, new_job, run_job
    from tuneline.store.base import open_store
    from tuneline.store.verify import plain_errors

    step, opened, cache = run_file.step(str(node)), open_store(store), os.environ.get("TUNELINE_CACHE")
    files = Path(cache) if cache else None
    with new_job(run_file, step, opened, scratch, replace=replace, cache=files, part=part) as job:
        if part:
            typer.echo(do_part(job))
            return
        outcome = run_job(job)
    found = essence(opened, run_file.run, step.name, outcome.manifest)
    if outputs is not None:  # a workflow shows each text as one of its outputs
        with plain_errors(outputs):
            outputs.mkdir(parents=True, exist_ok=True)
            told = found | _figures(outcome)
            if step.stage.parts:
                told["parts"] = json.dumps(_parts_left(run_file, step, outcome, opened, scratch))
            for name, text in told.items():
                (outputs / name).write_text(text)
    done = "found" if outcome.reused else "made"
    typer.echo("\n  ".join([f"{step.name} {outcome.manifest.fingerprint[:12]} {done}", *found.values()]))
    if step.stage.name == COMPARES:
        apply_gate(run_file, opened)


def apply_gate(run_file: RunFile, store: Store) -> None:
    """Say what the run file's policy says of what was found. Raises typer.Exit where it says no."""
    if run_file.gate and any(step.stage.name == COMPARES for step in run_file.steps):
        from tuneline.commands.results.gate import decide_run

        decision = decide_run(store, run_file.run, run_file.gate)
        for line in decision.lines():
            typer.echo(printable(line))
        if not decision.passed:
            raise typer.Exit(EXIT_NO)


def _figures(outcome: Outcome) -> dict[str, str]:
    """Return what a cluster counts: items and dollars of what was made now, and the decision of a comparison."""
    metrics, progress = outcome.manifest.metrics, Path(os.environ.get("ARGO_PROGRESS_FILE") or "/nowhere")
    items = progress.read_text().partition("/")[0] if progress.is_file() and not outcome.reused else "0"
    decision = metrics.counts.get("verdict")
    return {
        "items": items or "0",
        "usd": "0" if outcome.reused else f"{metrics.cost.total_usd:.6f}",
        "decision": decision.replace(" ", "_") if isinstance(decision, str) else "none",
    }


def _parts_left(
    run_file: RunFile, step: Step, outcome: Outcome, store: Store, scratch: Path | None
) -> list[str]:  # fmt: skip
    """Return the parts into which a pilot wants the work to be cut; none where it has been done.

    Whatever is wrong with the whole, it says itself.
    """
    from tuneline.engine.records import read_manifest
    from tuneline.engine.runner import find, new_job

    parts = _parts(outcome.manifest.metrics)
    if parts and outcome.reused:
        with suppress(UserError), new_job(run_file, run_file.step(step.stage.name), store, scratch) as whole:
            if read_manifest(store, step.stage.name, find(whole).fingerprint):
                return []
    return parts


def _parts(metrics: Metrics) -> list[str]:
    """Return the parts into which a pilot wants the work to be cut; none where one process is enough."""
    parts = metrics.counts.get("parts")
    count = parts if isinstance(parts, int) and metrics.counts.get("passed") else 1
    return [f"{number}/{count}" for number in range(1, count + 1)] if count > 1 else []


def schema_of(stage: AnyStage) -> dict[str, object]:
    """Return a stage's ports and parameters as JSON."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "variants": {name: sorted(absent) for name, absent in stage.variants.items()},
        "inputs": [port._asdict() for port in stage.input_ports()],
        "outputs": [port._asdict() for port in stage.output_ports()],
        "params": stage.params.model_json_schema(),
    }


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the exceptions of a stage into exit codes; see `tuneline.stage`."""
    from tuneline.store.verify import plain_disk_errors

    try:
        with plain_disk_errors():
            yield
    except UserError as e:
        _last_words(str(e))
        raise typer.Exit(EXIT_USER_ERROR) from None
    except Temporary as e:
        _last_words(str(e))
        raise typer.Exit(EXIT_TEMPORARY) from None
    except typer.Exit:
        raise
    except BrokenPipeError:  # whoever read our output (`head`, `less`) has seen enough
        raise typer.Exit(EXIT_BUG) from None
    except Exception as e:  # noqa: BLE001  (the one place where any error becomes an exit code)
        # The message may quote a transcript, and so may the values in a traceback: only type and places are shown.
        typer.echo("\n".join(["  " + frame for frame in frames_of(e)]), err=True)
        _last_words(
            f"{type(e).__name__} (a bug in this stage; where it happened is listed above, its message is withheld)"
        )
        raise typer.Exit(EXIT_BUG) from None


def _last_words(message: str) -> None:
    """Print the cause; Kubernetes shows what stands in /dev/termination-log as the container's message."""
    message = "\n".join(map(printable, message.split("\n")))
    typer.echo(message, err=True)
    place = Path("/dev/termination-log")
    if place.is_file():
        place.write_text(message[:4096])


def configure_logging() -> None:
    """Log lines to stderr: time, level, event and its fields."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lambda _logger, _method, event: {key: printable(str(value)) for key, value in event.items()},
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
