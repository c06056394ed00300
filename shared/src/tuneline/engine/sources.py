"""Files of transcripts that a store holds or that its runs name, read to know whose transcripts they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.layout import is_input_pin, upload_of, upload_place
from tuneline.engine.records import InputPin, read
from tuneline.store.base import Store, is_local, local_path

ReadIds = Callable[[Path], Iterable[tuple[str, str]]]
"""Yields id and hash of content of each transcript in a file or folder; of one that cannot be read nothing."""


class Source(NamedTuple):
    """An upload of the store, or with `upload` empty a local address that a run was given, and what it holds."""

    upload: str
    uri: str
    found: list[tuple[str, str]]


def sources(store: Store, folder: Path, read_ids: ReadIds) -> Iterator[Source]:
    """Read every upload of transcripts and every local input of a run; from S3 they are copied into `folder`."""
    for name in sorted({n for e in store.list("uploads/transcripts-") if (n := upload_of(e.key))}):
        place = upload_place(name)
        path = local_path(store.uri) / place if is_local(store.uri) else _copied(store, place, folder)
        if path.exists():
            yield Source(name, "", list(read_ids(path)))
    for uri in sorted(set(_given(store))):
        if is_local(uri) and local_path(uri).exists() and not uri.startswith(f"{store.uri}/"):
            yield Source("", uri, list(read_ids(local_path(uri))))


def _copied(store: Store, place: str, folder: Path) -> Path:
    for entry in store.list(f"{place}/"):
        copy = folder / entry.key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(store.get(entry.key) or b"")
    return folder / place


def _given(store: Store) -> Iterator[str]:
    for entry in store.list("runs/"):
        if is_input_pin(entry.key) and entry.key.split("/")[-1].startswith("transcripts"):
            pin = read(InputPin, store, entry.key)
            if pin is not None and pin.uri:
                yield pin.uri
