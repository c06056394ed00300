"""Puts the local inputs of a run file into a store, where a cluster can read them.

An input's files lie under `uploads/<input>-<hash of the content>/`, each with the name that it has here. So the input's
identity is the same there and here, and what lies there already is not sent again. A record beside the folder is
written anew by every upload, after the files: its age tells `tuneline gc` when the files were last wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tuneline.commands.show import size
from tuneline.engine.addresses.given import Identified, check_unchanged, identify
from tuneline.engine.addresses.listing import list_given
from tuneline.engine.checks import Where, check_run
from tuneline.engine.layout import upload_key
from tuneline.engine.pipelines import Address
from tuneline.engine.records import InputPin
from tuneline.engine.runfile import RunFile
from tuneline.errors import Changed, UserError
from tuneline.model.base_model import homes_of_links
from tuneline.parsing.patterns import any_of
from tuneline.parsing.problems import printable
from tuneline.store.base import Store, in_parallel, is_local, local_path

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")
"""Text that needs no quotes in YAML. PyYAML knows words such as `yes`, but not that a single `y` is one to others."""


def upload_inputs(run_file: RunFile, store: Store, console: Console) -> dict[str, Any]:
    """Upload the local inputs; return the content of the run file with their addresses in place of paths.

    Of a folder only the files that the run's stages read are sent. An input that none of them reads is left out.
    Raises UserError, before anything is sent, for whatever is missing or cannot be read.
    """
    with console.status("checking"), TemporaryDirectory(prefix="tuneline-") as folder:
        warnings = check_run(run_file, store, Where(Path(folder), ours=False)).settle()
    for text in warnings:
        console.print(f"[yellow]warning[/]: {escape(printable(text))}")
    inputs = {name: value for name, value in (run_file.source.content.get("inputs") or {}).items() if value is not None}
    found = {}
    for name, value in run_file.inputs.items():
        if not isinstance(value, Address) or not is_local(value.uri):
            continue
        if wanted := run_file.selections(name):
            with console.status(f"{name}: reading"):
                found[name] = _read(run_file, name, value.uri, wanted)
        else:
            console.print(f"{name}: left out, because no stage of this run reads it")
            del inputs[name]
    for name, fetched in found.items():
        inputs[name] = _send(store, name, fetched, console)
    given = {name: value for name, value in run_file.source.content.items() if value is not None and name != "store"}
    return {"run": run_file.run} | given | {"run": run_file.run, "inputs": inputs}


def _read(run_file: RunFile, name: str, uri: str, wanted: set[tuple[str, ...]]) -> Identified:
    try:
        within = homes_of_links(local_path(uri))  # any other link may lead anywhere
        for patterns in wanted:
            list_given(uri, patterns, within)  # each stage must find something
        return identify(list_given(uri, any_of(wanted), within), Path())
    except UserError as e:
        raise UserError(f"{run_file.source.where(('inputs', name))}: {e}") from None


def _send(store: Store, name: str, fetched: Identified, console: Console) -> str:
    """Send the files that the store does not have; return the address of the input there."""
    key = upload_key(name, fetched.sha256)
    there = {entry.key: entry.size for entry in store.list(f"{key}/")}
    folder = fetched.path if fetched.given.is_folder else fetched.path.parent
    missing = [name for name, file in fetched.files.items() if there.get(f"{key}/{name}") != file.size]
    columns = (TextColumn("{task.description:20}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=sum(fetched.files[file].size for file in missing))

        def send(file: str) -> None:
            if store.upload(folder / file, f"{key}/{file}").sha256 != fetched.files[file].sha256:
                store.delete([f"{key}/{file}"])
                raise Changed(
                    f"{folder / file}: the file changed while it was uploaded. Run again when nothing is writing."
                )
            progress.advance(task, fetched.files[file].size)

        in_parallel(send, missing)
    check_unchanged(fetched)
    place = key if fetched.given.is_folder else f"{key}/{fetched.path.name}"
    address = (local_path(store.uri) / place).as_uri() if is_local(store.uri) else f"{store.uri}/{place}"
    store.put(f"{key}.json", InputPin(uri=address, sha256=fetched.sha256, files=fetched.digests).to_bytes())
    done = f"{len(missing)} sent" if missing else "there already"
    console.print(f"{name}: {len(fetched.files)} file{'s' * (len(fetched.files) > 1)}, {size(fetched.size)}, {done}")
    return address


class _Dumper(yaml.SafeDumper):
    """Writes YAML that every parser reads alike, also where they differ about what is text and what a number."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if _BARE.fullmatch(text) else '"')


_Dumper.add_representer(str, _text)


def to_yaml(content: Mapping[str, Any]) -> str:
    """Return the content of a run file as YAML."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)
