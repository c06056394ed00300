"""The command `tuneline doctor`: whether this machine has what runs need, each in a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from tuneline.commands.check import check, check_store
from tuneline.commands.stage import DEFAULT_STORE, StoreOption, exit_codes
from tuneline.errors import Temporary, UserError
from tuneline.parsing.problems import printable

GIB = 1 << 30
LITTLE_MEMORY, LITTLE_DISK = 4 * GIB, 5 * GIB
"""Less than this is too little for anything but the demonstration."""
SECONDS = 20.0
"""A driver that is broken may never answer."""


class Finding(NamedTuple):
    """One thing that was looked at. `note` is less than perfect, `wrong` stops runs."""

    what: str
    state: Literal["fine", "note", "wrong"]
    text: str


def doctor(
    file: Annotated[Path | None, typer.Argument(help="A run file: its judge is asked one real question, too.")] = None,
    store: StoreOption = DEFAULT_STORE,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAMESPACE", help="Look at a namespace of the cluster of kubectl, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at this machine: stages, memory, GPU, llama-server, disk, keys, the Hub, and what the store does."""
    with exit_codes():
        findings = list(_look(store))
        if cluster is not None:
            from tuneline.commands.start.cluster import look_at_cluster

            findings += look_at_cluster(cluster)
        if as_json:
            typer.echo(json.dumps([one._asdict() for one in findings], indent=1))
        for one in () if as_json else findings:
            typer.echo(f"{one.state:5}  {one.what:12}  {printable(one.text)}")
        if wrong := [one.what for one in findings if one.state == "wrong"]:
            raise UserError(f"wrong: {', '.join(wrong)}")
    if file is not None:
        check(file, store, online=True)


def _look(store: str) -> Iterator[Finding]:
    yield _stages()
    yield from _machine()
    yield _gpu()
    yield _llama_server()
    yield _keys()
    yield _hub()
    yield _store(store)


def _stages() -> Finding:
    from tuneline import __version__
    from tuneline.stage import installed_stages

    names = ", ".join(installed_stages())
    return Finding(
        "stages", "fine" if names else "wrong", f"tuneline {__version__}: {names or 'no stage is installed'}"
    )


def _machine() -> Iterator[Finding]:
    memory, cores = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), len(os.sched_getaffinity(0))
    text = f"{cores} cores, {memory / GIB:.1f} GiB of memory"
    yield Finding("machine", "fine" if memory >= LITTLE_MEMORY else "note", text)
    for what, place in (("scratch", os.environ.get("TUNELINE_SCRATCH") or tempfile.gettempdir()), ("here", ".")):
        free = shutil.disk_usage(place).free if Path(place).is_dir() else 0
        text = f"{free / GIB:.1f} GiB free in {Path(place).resolve()}"
        yield Finding(f"disk, {what}", "fine" if free >= LITTLE_DISK else "note", text)


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding(
            "GPU", "note", "no driver of NVIDIA here: small models train on the processor, large ones need one"
        )
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Finding("GPU", "wrong", "nvidia-smi is here and fails: the driver does not work")
    return Finding("GPU", "fine", "; ".join(said.split("\n")[:8]).rstrip("; ") or "none")


def _llama_server() -> Finding:
    from tuneline.model import llama_cpp

    try:
        place = llama_cpp.program("llama-server")
        return Finding("llama-server", "fine", f"{llama_cpp.version(place)}, {place}")
    except (UserError, Temporary) as e:
        return Finding("llama-server", "wrong", str(e))


def _keys() -> Finding:
    """Name the keys that are set; whether one works is known when it is used."""
    there = sorted(
        name for name in os.environ if name.endswith("_API_KEY") or name in ("HF_TOKEN", "AWS_ACCESS_KEY_ID")
    )
    return Finding("keys", "fine" if there else "note", ", ".join(there) or "none is set: offline judges only")


def _hub() -> Finding:
    """Say whether the Hub answers. Only hf:// addresses need it, so that one who is away is noted and no fault."""
    from tuneline.engine.addresses.hub import ask_hub

    try:
        return Finding("Hub", "fine", ask_hub())
    except Temporary as e:
        return Finding("Hub", "note", f"{str(e).removesuffix(' Run it again.')} Only hf:// addresses need it.")
    except UserError as e:
        return Finding("Hub", "wrong", str(e))


def _store(store: str) -> Finding:
    from tuneline.store.base import is_local, local_path, open_store

    try:
        if is_local(store) and not local_path(store).exists():
            return Finding("store", "fine", f"{store} is not there yet; the first run makes it")
        check_store(open_store(store))
    except (UserError, Temporary) as e:
        return Finding("store", "wrong", str(e))
    return Finding("store", "fine", f"{store}: writes, reads, lists, deletes, and refuses a second writer")
