"""llama.cpp's programs and its converter, all of one version: found beside Python, run to their end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Literal

from tuneline.errors import Temporary, UserError
from tuneline.model.children import ending, environment, tied_to_us
from tuneline.parsing.problems import printable

Program = Literal["llama-server", "llama-quantize", "llama-imatrix"]


def program(name: Program) -> Path:
    """Return the program that was installed beside this Python, else the one on PATH; UserError when there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise UserError(f"`{name}` is neither next to {sys.executable} nor on PATH. Install it with `make setup`.")
    return Path(found)


def converter() -> Path:
    """Return llama.cpp's `convert_hf_to_gguf.py` of the same version as the programs; UserError when it is missing."""
    script = Path(sys.prefix, "share", "llama.cpp", "convert_hf_to_gguf.py")
    if not script.is_file():
        raise UserError(f"llama.cpp's converter is missing: {script} does not exist. Install it with `make setup`.")
    return script


def version(server: Path) -> str:
    """Return what `llama-server --version` says about its build, for example `0.5.0 (build 1, commit abc)`."""
    command = [str(server), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment())
    found = re.search(r"^version: (.+)$", answer.stdout + answer.stderr, re.MULTILINE)
    if found is None:
        raise UserError(f"`{server} --version` names no version (status {answer.returncode}): is it llama.cpp's?")
    return found[1].strip()


def run_program(command: Sequence[str | Path], called: str | None = None, cwd: Path | None = None) -> None:
    """Run one of llama.cpp's programs, or its converter, to its end; it ends with this process at the latest.

    `called` is its name where a script of ours runs it; file names are those in `cwd`. Raises UserError with the
    program's last words when it fails (they are about a model file, never about a request), Temporary when it was
    killed.
    """
    plain = tied_to_us([str(part) for part in command])
    done = subprocess.run(
        plain,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environment(),
        start_new_session=True,
        check=False,
        cwd=cwd,
    )
    name = called or next(Path(part).name for part in command if Path(part).name != Path(sys.executable).name)
    if done.returncode < 0:
        raise Temporary(f"{name} was ended by {ending(done.returncode)}; it may need more memory.")
    if done.returncode > 0:
        said = printable(" | ".join(done.stdout.decode(errors="replace").strip().splitlines()[-3:]))
        raise UserError(f"{name} ended with {ending(done.returncode)}: {said or 'it gave no reason.'}")
