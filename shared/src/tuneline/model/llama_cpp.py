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
from typing import Literal, NamedTuple

from tuneline.errors import Temporary, UserError
from tuneline.model.children import CRASHES, ending, environment, tied_to_us
from tuneline.parsing.problems import printable

_NO_MEMORY = re.compile(rb"bad_alloc|out of memory", re.IGNORECASE)
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


class Placement(NamedTuple):
    """Where llama-server computes a model: on the processor, or so many of its layers on GPUs."""

    gpus: tuple[str, ...] = ()
    layers: int | None = 0
    """None is all of them."""

    @property
    def flags(self) -> list[str]:
        """Return the options of llama-server, which would choose by itself."""
        if self.layers == 0:
            return ["--device", "none", "--n-gpu-layers", "0"]
        return ["--n-gpu-layers", "all" if self.layers is None else str(self.layers), "--fit", "off"]

    def __str__(self) -> str:
        if self.layers == 0:
            return "processor"
        layers = "all layers" if self.layers is None else f"{self.layers} layers"
        return f"{' and '.join(self.gpus)}, {layers}"


def placement(server: Path, gpu_layers: int | None = None) -> Placement:
    """Return where a server computes so many layers on a GPU, for None all if it was built for one that is here.

    Raises UserError when a GPU is asked for and the server finds none.
    """
    command = [str(server), "--list-devices"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment()).stdout
    gpus = tuple(printable(name) for name in re.findall(r"^ +\w+: (.+?) \([0-9]+ MiB", told, re.MULTILINE))
    if gpu_layers == 0 or not gpus:
        if gpu_layers:
            raise UserError(
                f"`gpu_layers`: {server} finds no GPU. It takes a build for one (image `evaluator-cuda`), the driver, "
                "and a GPU of the container; or leave it out."
            )
        return Placement()
    return Placement(gpus, gpu_layers)


def run_program(command: Sequence[str | Path], called: str | None = None, cwd: Path | None = None) -> None:
    """Run one of llama.cpp's programs, or its converter, to its end; it ends with this process at the latest.

    `called` is its name where a script of ours runs it; file names are those in `cwd`. Raises UserError with the
    program's last words when it fails (they are about a model file, never about a request) or crashes, as it would
    again, Temporary when it was killed or had no memory.
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
    if done.returncode < 0 and (-done.returncode not in CRASHES or _NO_MEMORY.search(done.stdout)):
        raise Temporary(f"{name} was ended by {ending(done.returncode)}; it may need more memory.")
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        failed = [line for line in lines if "GGML_ASSERT" in line]  # behind it stands where the program was
        said = printable(" | ".join(failed or lines[-3:]))
        raise UserError(f"{name} ended with {ending(done.returncode)}: {said or 'it gave no reason.'}")
