"""An upload of a run file for the toys, in this process or in one that dies on the way."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from kit import forks
from kit.toys import STAGES, DeadlyStore
from tuneline.commands.upload import to_yaml, upload_inputs
from tuneline.engine.runfile import read_run_file
from tuneline.store.base import Store, open_store

forks.preload("tuneline.commands.upload", "tuneline.store.file", "tuneline.store.s3")


class Uploaded(NamedTuple):
    printed: str
    told: list[str]


def upload(file: Path, store: Store) -> Uploaded:
    said = io.StringIO()
    content = upload_inputs(read_run_file(file, STAGES), store, Console(file=said, width=200, highlight=False))
    return Uploaded(to_yaml(content), said.getvalue().splitlines())


def upload_until_killed(file: Path, uri: str, at: int) -> int | None:
    """Upload in a process that kills itself at the `at`-th store operation; returns its exit code."""
    process = forks.start(_upload_and_die, file, uri, at, dict(os.environ))
    process.join()
    return process.exitcode


def _upload_and_die(file: Path, uri: str, at: int, environ: Mapping[str, str]) -> None:
    os.environ.update(environ)
    upload(file, DeadlyStore(open_store(uri), at))
