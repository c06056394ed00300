"""Inputs that a run file names, wherever they lie: a path, `file://`, `s3://` or `hf://organisation/name@revision`.

A file's identity is the SHA-256 of its bytes; size, times and ETag only say that it may be unchanged. A folder's is
the SHA-256 of one line per file, `<sha256>  <name>` as `sha256sum` prints it, sorted bytewise: it is the same wherever
the files lie. What is in the Hugging Face Hub is known by its commit. Names that start with a dot are not read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from tuneline.errors import Changed, UserError
from tuneline.store.base import Entry, in_parallel, key_problem, local_path, split_s3
from tuneline.store.file import stamp_of
from tuneline.store.verify import hash_file, plain_errors

THREADS = min(8, os.cpu_count() or 1)


class Listed(NamedTuple):
    """A file as it was listed. `stamp` (times or ETag) may say "unchanged" and is never an identity."""

    size: int
    stamp: str


class FetchedFile(NamedTuple):
    """A file as it was read."""

    size: int
    stamp: str
    sha256: str


@dataclass(frozen=True)
class GivenFiles:
    """What an address holds. `uri` is canonical; `files` is by name, and empty for hf://, whose commit says it all."""

    uri: str
    patterns: tuple[str, ...]
    is_folder: bool
    files: Mapping[str, Listed]


@dataclass(frozen=True)
class Fetched:
    """A given input as a local path, and its identity. `size` is in bytes, `count` in files."""

    given: GivenFiles
    path: Path
    files: Mapping[str, FetchedFile]
    sha256: str
    size: int
    count: int

    @property
    def uri(self) -> str:
        """Canonical address; for hf:// with the commit."""
        return self.given.uri


_KNOWN = TypeAdapter(dict[str, FetchedFile])


def list_given(uri: str, patterns: Sequence[str] = ()) -> GivenFiles:
    """List the file or folder at `uri`; of a folder the files that match one of `patterns` (all, if none are named).

    Raises UserError if nothing is there, and for what cannot be read as a file.
    """
    if uri.startswith("hf://"):
        from tuneline.engine.hub import resolve

        return GivenFiles(resolve(uri), tuple(patterns), True, {})
    listed = _list_s3(uri, patterns) if uri.startswith("s3://") else _list_local(uri, patterns)
    if not listed.files:
        matching = f" that match {', '.join(patterns)}" if patterns else ""
        raise UserError(f"{listed.uri}: the folder has no files{matching}.")
    if problem := next(filter(None, map(key_problem, listed.files)), None):
        raise UserError(f"{listed.uri}: cannot use a file name: {problem}.")
    return listed


def fetch_given(given: GivenFiles, dest: Path, known: Mapping[str, FetchedFile] | None = None) -> Fetched:
    """Hash what was listed and make it a local path: in place if it is local already, else below `dest`.

    `known` is what was read earlier: a file with the same size and stamp is not hashed again. Raises Changed if files
    changed, came or went since they were listed.
    """
    if given.uri.startswith("hf://"):
        return _fetch_hub(given)
    if given.uri.startswith("s3://"):
        path, files = _fetch_s3(given, dest)
    else:
        path, files = local_path(given.uri), _hash_local(given, known or {})
    _refuse_changes(given)
    digests = {name: file.sha256 for name, file in files.items()}
    identity = folder_sha256(digests) if given.is_folder else next(iter(digests.values()))
    return Fetched(given, path, files, identity, sum(f.size for f in files.values()), len(files))


def check_unchanged(fetched: Fetched) -> None:
    """Raise Changed if a local input, which is read in place, is not what was fetched any more."""
    if fetched.uri.startswith("file://"):
        _refuse_changes(fetched.given)


def folder_sha256(digests: Mapping[str, str]) -> str:
    """Return the identity of a folder from the SHA-256 of each file by name; the module says how."""
    lines = sorted(f"{sha256}  {name}\n".encode() for name, sha256 in digests.items())
    return hashlib.sha256(b"".join(lines)).hexdigest()


def known_to(fetched: Fetched) -> bytes:
    """Write down what was read, for `known_from`."""
    return _KNOWN.dump_json(dict(fetched.files))


def known_from(data: bytes | None) -> Mapping[str, FetchedFile]:
    """Read what `known_to` wrote; nothing is known from anything else."""
    try:
        return _KNOWN.validate_json(data or b"{}")
    except ValidationError:
        return {}


def _list_local(uri: str, patterns: Sequence[str]) -> GivenFiles:
    path = local_path(uri)
    with plain_errors(path):
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            path = path.resolve()
            entries = _walk(path, "", frozenset({(found.st_dev, found.st_ino)}), tuple(patterns))
            return GivenFiles(path.as_uri(), tuple(patterns), True, dict(entries))
        path = path.parent.resolve() / path.name
        return GivenFiles(path.as_uri(), tuple(patterns), False, {path.name: _listed(found, path)})


def _walk(
    folder: Path, prefix: str, above: frozenset[tuple[int, int]], patterns: tuple[str, ...]
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
                    raise UserError(f"{path}: the symbolic link leads back to a folder that it lies in.")
                yield from _walk(path, f"{name}/", above | {(found.st_dev, found.st_ino)}, patterns)
            elif _is_wanted(name, patterns):
                yield name, _listed(path.stat(), path)


def _listed(found: os.stat_result, path: Path) -> Listed:
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is neither a file nor a folder.")
    return Listed(found.st_size, stamp_of(found))


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether `name` matches; as in the Hub's downloads, `*` matches `/` too."""
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _hash_local(given: GivenFiles, known: Mapping[str, FetchedFile]) -> dict[str, FetchedFile]:
    path = local_path(given.uri)

    def hash_one(name: str, listed: Listed) -> FetchedFile:
        if (old := known.get(name)) and (old.size, old.stamp) == listed:
            return old
        place = path / name if given.is_folder else path
        with plain_errors(place):
            return FetchedFile(*listed, hash_file(place).sha256)

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(given.files, pool.map(hash_one, given.files, given.files.values()), strict=True))


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
    wanted = {n: f for n, f in found.items() if "/." not in f"/{n}" and _is_wanted(n, patterns)}
    return GivenFiles(canonical, tuple(patterns), True, wanted)


def _fetch_s3(given: GivenFiles, dest: Path) -> tuple[Path, dict[str, FetchedFile]]:
    from tuneline.store.s3 import S3Store

    bucket, key = split_s3(given.uri)
    store = S3Store(bucket, "")

    def fetch(name: str, listed: Listed) -> FetchedFile:
        whole = "/".join(filter(None, (key, name))) if given.is_folder else key
        return FetchedFile(*listed, store.fetch(Entry(whole, listed.size, 0, listed.stamp), dest / name))

    files = dict(zip(given.files, in_parallel(fetch, given.files, given.files.values()), strict=True))
    return (dest if given.is_folder else dest / next(iter(files))), files


def _fetch_hub(given: GivenFiles) -> Fetched:
    from tuneline.engine.hub import download

    path = download(given.uri, given.patterns)
    present = _list_local(str(path), given.patterns).files
    if not present:
        raise UserError(f"{given.uri}: has no files that match {', '.join(given.patterns) or 'anything'}.")
    sha256 = hashlib.sha256(given.uri.encode()).hexdigest()
    return Fetched(given, path, {}, sha256, sum(f.size for f in present.values()), len(present))


def _refuse_changes(given: GivenFiles) -> None:
    now = list_given(given.uri, given.patterns).files
    if different := sorted(name for name, _ in now.items() ^ given.files.items()):
        names = ", ".join(dict.fromkeys(different[:6]))
        kind = "folder" if given.is_folder else "file"
        raise Changed(f"{given.uri}: the {kind} changed while it was read: {names}. Run again when nothing writes.")
