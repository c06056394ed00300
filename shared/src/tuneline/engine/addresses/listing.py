"""What lies at an address, by name and size: a path, `file://`, `s3://`, or in the Hub (`addresses/hub.py`).

Names that start with a dot are not read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tuneline.errors import UserError
from tuneline.parsing.patterns import is_wanted, nothing_wanted
from tuneline.stage import Part
from tuneline.store.base import key_problem, local_path, split_s3
from tuneline.store.file import stamp_of
from tuneline.store.verify import plain_errors


class Listed(NamedTuple):
    """A file as it was listed. `stamp` (times or ETag) may say "unchanged" and is never an identity."""

    size: int
    stamp: str


@dataclass(frozen=True)
class GivenFiles:
    """What an address holds. `uri` is canonical; `files` is by name, and empty for hf://, whose commit says it all."""

    uri: str
    patterns: tuple[str, ...]
    is_folder: bool
    files: Mapping[str, Listed]
    within: tuple[Path, ...] = ()
    shard: Part | None = None

    @property
    def is_hub(self) -> bool:
        return self.uri.startswith("hf://")


def list_given(
    uri: str, patterns: Sequence[str] = (), within: tuple[Path, ...] = (), shard: Part | None = None
) -> GivenFiles:
    """List the file or folder at `uri`; of a folder the files that match one of `patterns` (all, if none are named).

    Of these only those of `shard`, if it is given.

    Raises UserError if nothing is there, for what cannot be read as a file, and for a local file that lies, once
    symbolic links are followed, below none of the folders `within`, if there are any.
    """
    if uri.startswith("hf://") and shard is None:
        from tuneline.engine.addresses.hub import resolve

        return GivenFiles(resolve(uri), tuple(patterns), True, {})
    if uri.startswith("hf://"):
        raise UserError(f"{uri}: what lies in the Hub cannot be split into shards.")
    listed = _list_s3(uri, patterns) if uri.startswith("s3://") else _list_local(uri, patterns, within)
    if not listed.files:
        raise nothing_wanted(listed.uri, patterns, names_in(listed))
    if problem := next(filter(None, map(key_problem, listed.files)), None):
        raise UserError(f"{listed.uri}: cannot use a file name: {problem}.")
    if shard is None:
        return listed
    if not listed.is_folder:
        raise UserError(f"{listed.uri}: is to be split into shards, so it must be a folder with a file per item.")
    mine = {name: file for name, file in listed.files.items() if shard.has(name)}
    return replace(listed, files=mine, shard=shard)


def _list_local(uri: str, patterns: Sequence[str], within: tuple[Path, ...]) -> GivenFiles:
    path = local_path(uri)
    with plain_errors(path):
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            path = path.resolve()
            entries = _walk(path, "", frozenset({(found.st_dev, found.st_ino)}), tuple(patterns), within)
            return GivenFiles(path.as_uri(), tuple(patterns), True, dict(entries), within)
        path = path.parent.resolve() / path.name
        files = {path.name: _listed(found, path, within)}
        return GivenFiles(path.as_uri(), tuple(patterns), False, files, within)


def _walk(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]], patterns: tuple[str, ...], within: tuple[Path, ...]
) -> Iterator[tuple[str, Listed]]:
    """Yield the wanted files below `folder`; `above` are the folders on the way there, to notice links that go back."""
    for path in sorted(folder.iterdir()):
        name = prefix + path.name
        if path.name.startswith("."):
            continue
        with plain_errors(path):
            if path.is_dir():
                found = path.stat()
                if (found.st_dev, found.st_ino) in above:
                    raise UserError(f"{path}: the symbolic link leads back to a folder that contains it.")
                yield from _walk(path, f"{name}/", above | {(found.st_dev, found.st_ino)}, patterns, within)
            elif is_wanted(name, patterns):
                yield name, _listed(path.stat(), path, within)


def _listed(found: os.stat_result, path: Path, within: tuple[Path, ...]) -> Listed:
    if within and not any(path.resolve().is_relative_to(folder) for folder in within):
        raise UserError(f"{path}: the symbolic link leads out of {' and '.join(map(str, within))}. Use a copy instead.")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is neither a file nor a folder.")
    return Listed(found.st_size, stamp_of(found))


def names_in(folder: GivenFiles) -> list[str]:
    """Return the names of all files in a folder; of a local one, where links may lead anywhere, three folders deep."""
    if folder.is_hub:
        from tuneline.engine.addresses.hub import list_hub

        return [name for name, _ in list_hub(folder.uri, ())]
    if folder.uri.startswith("s3://"):
        from tuneline.store.s3 import S3Store

        return [entry.key for entry in S3Store(*split_s3(folder.uri)).list("")]
    place = local_path(folder.uri)
    found = (path for depth in ("*", "*/*", "*/*/*") for path in place.glob(depth) if path.is_file())
    return [path.relative_to(place).as_posix() for path in found]


def _list_s3(uri: str, patterns: Sequence[str]) -> GivenFiles:
    from tuneline.store.s3 import S3Store

    bucket, key = split_s3(uri)
    store = S3Store(bucket, "")
    canonical = f"s3://{bucket}/{key}".rstrip("/")
    if key and not uri.endswith("/") and (one := store.head(key)):
        return GivenFiles(canonical, tuple(patterns), False, {key.rpartition("/")[2]: Listed(one.size, one.stamp)})
    base = f"{key}/" if key else ""
    found = {entry.key.removeprefix(base): Listed(entry.size, entry.stamp) for entry in store.list(base)}
    if not found:
        raise UserError(f"{uri}: there is no such object, and no folder with files.")
    wanted = {n: f for n, f in found.items() if is_wanted(n, patterns)}
    return GivenFiles(canonical, tuple(patterns), True, wanted)
