"""Inputs that a run file names, known by hash wherever they lie, and fetched when a stage asks for their path.

A file's identity is the SHA-256 of its bytes; size, times and ETag only say that it may be unchanged. A folder's is
the SHA-256 of one line per file, `<sha256>  <name>` as `sha256sum` prints it, sorted bytewise: it is the same wherever
the files lie. What is in the Hugging Face Hub is known by its commit.
Identity comes before bytes: they travel when a stage asks for the path, or when nobody has read them yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from tuneline.engine.addresses.listing import GivenFiles, Listed, list_given
from tuneline.engine.identity import folder_sha256
from tuneline.errors import Changed
from tuneline.store.base import Entry, in_parallel, is_local, local_path, split_s3
from tuneline.store.verify import FileCache, hash_file, plain_errors


class KnownFile(NamedTuple):
    """A file as it was read. Of one in the Hub only the Hub's own hash is known."""

    size: int
    stamp: str
    sha256: str


@dataclass(frozen=True)
class Identified:
    """What an address holds, known by hash."""

    given: GivenFiles
    files: Mapping[str, KnownFile]
    sha256: str
    dest: Path
    cache: FileCache

    @property
    def uri(self) -> str:
        return self.given.uri

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())

    @property
    def digests(self) -> dict[str, str]:
        return {} if self.given.is_hub else {name: file.sha256 for name, file in self.files.items()}

    @cached_property
    def path(self) -> Path:
        """The local path: in place if it is local, else below `dest`. Bytes that are not here yet travel now.

        Raises Changed if they are not those that the hash was taken from.
        """
        if self.given.is_hub:
            from tuneline.engine.addresses.hub import fetch_hub

            sizes = {name: file.size for name, file in self.files.items()}
            return fetch_hub(self.uri, self.given.patterns, sizes, self.dest)
        if not self.uri.startswith("s3://"):
            return self._some_links() if self.given.shard else local_path(self.uri)
        fetch = _s3_reader(self.given, self.dest, self.cache)

        def bring(name: str, known: KnownFile) -> None:
            place = self.dest / name
            if place.exists() or self.cache.take(known.sha256, place):
                return
            if fetch(name, Listed(known.size, known.stamp)).sha256 != known.sha256:
                raise Changed(f"{self.uri}: {name} has changed although its ETag is the same. Upload it again.")

        in_parallel(bring, self.files, self.files.values())
        return self.dest if self.given.is_folder else self.dest / next(iter(self.files))

    def _some_links(self) -> Path:
        """Make a folder with the files of one shard, which are read in place."""
        self.dest.mkdir(parents=True, exist_ok=True)
        for name in self.files:
            (self.dest / name).parent.mkdir(parents=True, exist_ok=True)
            (self.dest / name).symlink_to(local_path(self.uri) / name)
        return self.dest


_NO_CACHE = FileCache()
_KNOWN = TypeAdapter(dict[str, KnownFile])


def identify(
    given: GivenFiles, dest: Path, known: Mapping[str, KnownFile] | None = None, cache: FileCache = _NO_CACHE
) -> Identified:
    """Return the identity of what was listed. Only files that are not known are read: size and stamp tell.

    `known` is what was read earlier. What has to be fetched to be read goes below `dest` and is not fetched again.
    Raises Changed if files changed, came or went since they were listed.
    """
    if given.is_hub:
        files = known or files_in_hub(given)
        return Identified(given, files, hashlib.sha256(given.uri.encode()).hexdigest(), dest, cache)

    read_new = _s3_reader(given, dest, cache) if given.uri.startswith("s3://") else _local_reader(given)

    def read(name: str, listed: Listed) -> KnownFile:
        old = (known or {}).get(name)
        return old if old and (old.size, old.stamp) == listed else read_new(name, listed)

    files = dict(zip(given.files, in_parallel(read, given.files, given.files.values()), strict=True))
    if files != known:
        _refuse_changes(given)
    digests = {name: file.sha256 for name, file in files.items()}
    identity = folder_sha256(digests) if given.is_folder else next(iter(digests.values()))
    return Identified(given, files, identity, dest, cache)


def files_in_hub(given: GivenFiles) -> dict[str, KnownFile]:
    """Return the files of a commit as the Hub lists them, which it is asked for now."""
    from tuneline.engine.addresses.hub import list_hub

    return {name: KnownFile(size, "", hashed) for name, (size, hashed) in list_hub(given.uri, given.patterns)}


def check_unchanged(found: Identified) -> None:
    """Raise Changed if a local input, which is read in place, is not what it was any more."""
    if is_local(found.uri):
        _refuse_changes(found.given)


def known_to(files: Mapping[str, KnownFile]) -> bytes:
    """Write down what was read, for `known_from`."""
    return _KNOWN.dump_json(dict(files))


def known_from(data: bytes | None) -> Mapping[str, KnownFile]:
    """Read what `known_to` wrote; nothing is known from anything else."""
    try:
        return _KNOWN.validate_json(data or b"{}")
    except ValidationError:
        return {}


def _local_reader(given: GivenFiles) -> Callable[[str, Listed], KnownFile]:
    def read(name: str, listed: Listed) -> KnownFile:
        place = local_path(given.uri) / name if given.is_folder else local_path(given.uri)
        with plain_errors(place):
            return KnownFile(*listed, hash_file(place).sha256)

    return read


def _s3_reader(given: GivenFiles, dest: Path, cache: FileCache) -> Callable[[str, Listed], KnownFile]:
    from tuneline.store.s3 import S3Store

    bucket, key = split_s3(given.uri)
    store = S3Store(bucket, "")

    def read(name: str, listed: Listed) -> KnownFile:
        whole = "/".join(filter(None, (key, name))) if given.is_folder else key
        sha256 = store.fetch(Entry(whole, listed.size, 0, listed.stamp), dest / name)
        cache.keep(sha256, dest / name)
        return KnownFile(*listed, sha256)

    return read


def _refuse_changes(given: GivenFiles) -> None:
    now = list_given(given.uri, given.patterns, given.within, given.shard).files
    if different := sorted(name for name, _ in now.items() ^ given.files.items()):
        names = ", ".join(dict.fromkeys(different[:6]))
        kind = "folder" if given.is_folder else "file"
        raise Changed(f"{given.uri}: the {kind} changed while it was read: {names}. Run again when nothing is writing.")
