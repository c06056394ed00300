"""The command `tuneline init`: files to begin with. It asks nothing, and writes over nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Annotated, NamedTuple

import typer

from tuneline.commands.stage import exit_codes
from tuneline.errors import UserError
from tuneline.parsing.problems import printable

STARTER = Path(__file__).parent / "starter"
MAY_BE_BAD = 0.2
"""Share of the conversations that is left out: with more of them, something else is wrong."""
DEFAULT_MAX_BAD = 5
"""The assessor's."""
ANSWERED = "  answered_by: {}              # everybody else asks"
TOOLS = "  tools: drop                           # calls of tools and their results; keep has them learnt as text"
SKIP = "  on_bad: skip                          # {} more that cannot be used; the assessor's rejected.jsonl lists them"
MANY = "  max_bad: {}"
BASE = "hf://HuggingFaceTB/SmolLM2-135M-Instruct"


class _Data(NamedTuple):
    """What a run file says of conversations: their address, exchanges before the first slice, exchanges to have."""

    transcripts: str
    about: str
    context: int = 2
    turns: int = 3
    reading: str = ""
    """A section of the run file, where they are not read as they are."""
    left_out: int = 0
    """How many cannot be used."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")] = Path(),
    transcripts: Annotated[
        Path | None,
        typer.Option("--from", help="Your conversations; without it, a few made-up ones."),
    ] = None,
    answered_by: Annotated[
        list[str] | None, typer.Option(help="Who answers, where only names are there; may be repeated.")
    ] = None,
    base_model: Annotated[str, typer.Option(help="Model to fine-tune: hf://org/name, or a folder.")] = BASE,
) -> None:
    """Write a run file with rubric, personas and prompt to begin with, fit for your conversations."""
    from tuneline.store.verify import plain_errors

    with exit_codes():
        names = ["run.yaml", "rubric.yaml", "personas.yaml", "prompt.txt"]
        names += [] if transcripts else ["conversations.jsonl"]
        if there := [name for name in names if (folder / name).exists()]:
            raise UserError(f"{printable(str(folder))} has {', '.join(there)} already; nothing was written")
        data = _look(transcripts, folder, answered_by or []) if transcripts else _made_up()
        texts = {name: (STARTER / name).read_text(encoding="utf-8") for name in names}
        texts["run.yaml"] = Template(texts["run.yaml"]).substitute(
            data._asdict(), run=_quoted(_name(folder)), base=_quoted(_seen_from(folder, base_model))
        )
        with plain_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (folder / name).write_text(text, encoding="utf-8")
        if data.left_out:
            typer.echo("Some conversations cannot be used; run.yaml says how many, and leaves them out.", err=True)
        if transcripts:
            typer.echo(
                f"The personas are of a library; others: tuneline personas draft {printable(str(transcripts))}",
                err=True,
            )
        file = printable(str(folder / "run.yaml"))
        typer.echo(f"{', '.join(names)} written. Next: tuneline check {file}, then tuneline run {file}")


def _made_up() -> _Data:
    return _Data("conversations.jsonl", "  # Eleven made-up conversations of a town library; `--from` takes yours.")


def _look(transcripts: Path, folder: Path, answering: Sequence[str]) -> _Data:
    """Read the conversations as the assessor will. Raises UserError for what it refuses even if it may skip some."""
    from statistics import median

    from tuneline.data.reading.messages.content import EMPTY
    from tuneline.data.transcripts import MAX_KEPT, read_transcripts

    try:
        found, bad = read_transcripts(transcripts, answering=answering), 0
    except UserError as refused:
        found = read_transcripts(transcripts, MAX_KEPT, "drop", answering)
        bad = len(found.rejected) - found.kinds[EMPTY]
        if bad > MAY_BE_BAD * (len(found.rejected) + len(found.transcripts)):
            raise refused from None
    lengths = sorted(len(one.exchanges) for one in found.transcripts)
    middle = int(median(lengths))
    about = f"  # {len(lengths):,} conversations of {lengths[0]} to {lengths[-1]} exchanges, in the middle {middle}."
    context, turns = max(1, min(3, middle - 1)), max(2, min(8, middle))
    lines = (
        ANSWERED.format(json.dumps(answering, ensure_ascii=False)) * bool(answering),
        TOOLS * bool(found.repairs["tools_dropped"]),
        SKIP.format(bad) * bool(bad),
        MANY.format(bad) * (bad > DEFAULT_MAX_BAD),
    )
    reading = "\n".join(["", "assessor:", *filter(None, lines), ""]) if any(lines) else ""
    return _Data(_quoted(_seen_from(folder, str(transcripts))), about, context, turns, reading, bad)


def _seen_from(folder: Path, address: str) -> str:
    """Return an address for a file in `folder`: paths count from there."""
    from tuneline.store.base import at_home

    return address if "://" in address else os.path.relpath(at_home(address), folder)


def _quoted(text: str) -> str:
    """Return text as a YAML scalar."""
    import yaml

    plain = re.fullmatch(r"[\w./][\w./:@-]*", text) is not None and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _name(folder: Path) -> str:
    """Return a name like the folder's for the run and its model, or a plain one where that cannot be one."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower())[:60].strip("-")
    return name or "first"
