"""The commands `tuneline personas draft` and `tuneline personas check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuneline.commands.stage import exit_codes

personas_app = typer.Typer(
    no_args_is_help=True, help="Draft simulated users, and look whether they are held out.", rich_markup_mode=None
)

TranscriptsArgument = Annotated[Path, typer.Argument(help="Transcripts: a file or a folder.")]


@personas_app.command("draft")
def personas_draft(
    transcripts: TranscriptsArgument,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Personas to propose.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Another one proposes others.")] = 0,
) -> None:
    """Print personas like the users of your transcripts, as the start of a personas.yaml."""
    from tuneline.commands.drafts import as_rows, draft
    from tuneline.commands.upload import to_yaml

    with exit_codes():
        personas = draft(transcripts, count, seed)
        typer.echo(to_yaml(as_rows(personas)), nl=False)
        typer.echo(
            "Ages, traits and trajectories are proposals that nothing in a transcript tells: edit them.", err=True
        )


@personas_app.command("check")
def personas_check(
    file: Annotated[Path, typer.Argument(help="The persona file.")], transcripts: TranscriptsArgument
) -> None:
    """Refuse personas that say mostly what a user says in transcripts that a model learns, and name single lines."""
    from tuneline.commands.drafts import SHOWN, refuse_learnt

    with exit_codes():
        found = refuse_learnt(file, transcripts)
        typer.echo(f"{file.name}: none of {found.personas} personas says mostly what a user says in {transcripts.name}")
        for place in found.lines[:SHOWN]:
            typer.echo(f"{file.name}: {place}: a user says nearly the same there; alone it does no harm")
