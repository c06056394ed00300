"""How much memory transfers take: each in a process of its own, whose peak is the kernel's figure."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kit.peak_memory import held
from tuneline.store.base import FileRecord, Store, in_parallel, open_store


class Measured(NamedTuple):
    """What a transfer returned, and by how many bytes the process grew at most."""

    records: list[FileRecord]
    growth: int


def upload(uri: str, paths: Sequence[Path]) -> Measured:
    """Upload files, all at once."""
    return _in_a_process(_upload, uri, paths)


def download(uri: str, records: Sequence[FileRecord], folder: Path) -> Measured:
    """Download files, all at once."""
    return _in_a_process(_download, uri, records, folder)


def _in_a_process(transfer: Callable[..., Measured], *arguments: Any) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(transfer, arguments)


def _upload(uri: str, paths: Sequence[Path]) -> Measured:
    store, before = _warm(uri)
    records = in_parallel(store.upload, paths, [path.name for path in paths])
    return Measured(records, held("VmHWM") - before)


def _download(uri: str, records: Sequence[FileRecord], folder: Path) -> Measured:
    store, before = _warm(uri)
    in_parallel(store.download, records, [folder / record.key for record in records])
    return Measured([*records], held("VmHWM") - before)


def _warm(uri: str) -> tuple[Store, int]:
    """Open a store and use it, so that what it imports does not count; return the size of the process."""
    store = open_store(uri)
    store.put("warm", b"")
    store.get("warm")
    return store, held("VmRSS")
