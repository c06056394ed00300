"""A stage's own command, as it is typed."""

from __future__ import annotations

import sys
from pathlib import Path


def command(stage: str, file: Path, store: Path, *more: str) -> list[str]:
    """Return the command that runs a stage of a run file."""
    program = Path(sys.executable).parent / f"tuneline-{stage}"
    return [str(program), "run", "--file", str(file), "--store", str(store), *more]
