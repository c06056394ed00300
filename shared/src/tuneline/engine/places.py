"""Where files are put for others, outside of the store: a folder, or a prefix of a bucket."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tuneline.errors import UserError
from tuneline.store.base import PART, Store, is_local, local_path, open_store
from tuneline.store.verify import plain_errors


class StorePlace:
    """A Place (see `tuneline.stage.Place`): what a store can do, without its layout."""

    def __init__(self, store: Store) -> None:
        self._store, self.uri = store, store.uri

    def sizes(self) -> dict[str, int]:
        if is_local(self.uri):
            _refuse_links(local_path(self.uri))
        return {entry.key: entry.size for entry in self._store.list("")}

    def read(self, name: str) -> bytes | None:
        return self._store.get(name)

    def put(self, path: Path, name: str) -> None:
        self._store.upload(path, name)
        self._tidy()

    def try_writing(self) -> None:
        name = f"tuneline-{uuid4().hex}"
        made = _missing(self.uri)
        self._store.put(name, b"")
        self._store.delete([name])
        self._tidy()
        for folder in made:
            folder.rmdir()

    def _tidy(self) -> None:
        """Remove the folder in which a file store writes what is not whole yet, if it is empty."""
        parts = local_path(self.uri) / f"{PART}files" if is_local(self.uri) else None
        if parts and parts.is_dir() and not any(parts.iterdir()):
            parts.rmdir()


def open_place(uri: str, store: Store) -> StorePlace:
    """Open the place at `uri`. Raises UserError for what is no place, and for one inside the `store`, or around it."""
    if not uri.startswith("s3://") and not (is_local(uri) and Path(uri).is_absolute()):
        raise UserError(f"{uri}: name a folder by its absolute path, or s3://bucket/prefix.")
    found = open_store(uri)
    ours, theirs = f"{store.uri}/", f"{found.uri}/"
    if ours.startswith(theirs) or theirs.startswith(ours):
        raise UserError(f"{uri}: overlaps with the store {store.uri}. Name another place.")
    return StorePlace(found)


def _missing(uri: str) -> list[Path]:
    """Return the folders that a first file makes, the deepest first."""
    if not is_local(uri):
        return []
    path = local_path(uri)
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _refuse_links(folder: Path) -> None:
    with plain_errors(folder):
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.is_symlink():
                raise UserError(f"{path}: is a symbolic link, so files could land elsewhere. Name another folder.")
