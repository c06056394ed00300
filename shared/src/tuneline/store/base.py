"""The store: immutable files under keys, in a folder or in an S3 bucket, behind one small interface.

Every write is complete or absent, and `put(if_absent=True)` has exactly one winner, whoever races. Nothing that is
read is trusted: a file counts only if its size and SHA-256 are those that a manifest lists. `given.py` reads what lies
outside the store: the inputs that a run file names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tuneline.errors import UserError

PART = ".part-"
"""Names of unfinished files start so, on every kind of disk; no key may."""
TRANSFERS = 16
"""Files, or parts of large files, on their way at once. One connection to S3 brings 50 to 90 MB/s."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(1, 10))}

T = TypeVar("T")


class FileRecord(BaseModel):
    """One stored file, as a manifest lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: str
    """Name in the store, parts separated by `/`."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the bytes, 64 hex digits."""
    size: int = Field(ge=0, lt=1 << 63)
    """Bytes."""

    @field_validator("key")
    @classmethod
    def _safe(cls, key: str) -> str:
        if problem := key_problem(key):
            raise ValueError(problem)
        return key


class Entry(NamedTuple):
    """One listed file; `modified` in Unix seconds. `stamp` (times or ETag) may say "unchanged", never what it is."""

    key: str
    size: int
    modified: float
    stamp: str


class Store(Protocol):
    """What both kinds of store do. All calls are safe for threads.

    A wrong address, a missing permission or broken bytes raise UserError; a store that stays unreachable or full raises
    Temporary.
    """

    @property
    def uri(self) -> str:
        """Canonical address, without a trailing slash."""

    def get(self, key: str, most: int | None = None) -> bytes | None:
        """Return the bytes under `key`, or None when there are none. Raises UserError if there are more than `most`."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write `data` under `key` atomically. Return False, and write nothing, if `if_absent` and the key exists."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the files whose key starts with `prefix`, at any depth, sorted by key."""

    def upload(self, path: Path, key: str) -> FileRecord:
        """Copy the file at `path` to `key`, hashing what is stored. Raises Changed if it changed meanwhile."""

    def download(self, record: FileRecord, dest: Path) -> None:
        """Copy a file to `dest`, complete and verified or not at all. Raises UserError after three bad copies."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files; a key that is absent already is fine."""

    def local(self, record: FileRecord) -> Path | None:
        """Return the verified file in place, or None if this store has no local files."""

    def sweep(self, older_than: float) -> int:
        """Remove what killed writers left unfinished `older_than` seconds ago or more; return how many things."""


def open_store(uri: str) -> Store:
    """Open the store at `uri`: `s3://bucket/prefix`, `file:///folder` or a plain path (made on the first write)."""
    scheme = uri.partition("://")[0] if "://" in uri or uri.startswith(("s3:", "file:")) else ""
    if scheme == "s3":
        from tuneline.store.s3 import S3Store

        return S3Store(*split_s3(uri))
    if scheme in ("", "file"):
        from tuneline.store.file import FileStore

        return FileStore(local_path(uri))
    raise UserError(f"store {uri}: unknown kind. A store is s3://bucket/prefix, file:///folder or a path.")


def in_parallel(copy: Callable[..., T], *items: Iterable[Any]) -> list[T]:
    """Call `copy` like `map` does, for several items at the same time. Raises the error of the first that failed."""
    with ThreadPoolExecutor(TRANSFERS) as pool:
        return list(pool.map(copy, *items))


def is_local(uri: str) -> bool:
    """Tell whether an address is one of this machine: a plain path or `file://`."""
    return "://" not in uri or uri.startswith("file://")


def at_home(path: str) -> Path:
    """Return a path with the home folder that its `~` stands for. Raises UserError where nobody knows that folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: nobody knows which folder `~` stands for; write the whole path.") from None


def local_path(uri: str) -> Path:
    """Return the absolute path that a plain path or a `file://` address means. Symbolic links are kept."""
    if not uri.startswith("file://"):
        path = at_home(uri).absolute()
    else:
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise UserError(f"{uri}: a file address has three slashes and an absolute path, as in file:///data/store.")
        # Only the path counts: `?` and `#` are ordinary characters of a file name.
        path = Path(unquote(uri.removeprefix("file://").removeprefix("localhost")))
    if not uri or "\0" in str(path):
        raise UserError(f"{uri!r} is not a path.")
    return path


def split_s3(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/prefix` into bucket and prefix, the prefix without slashes at its ends."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not bucket or (prefix and key_problem(prefix)):
        shown = uri if uri.isprintable() else ascii(uri)
        raise UserError(f"{shown}: an S3 address is s3://bucket/prefix, without empty parts, `.` or `..`.")
    return bucket, prefix


_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def key_problem(key: str) -> str | None:
    """Say why `key` cannot name a file in every kind of store, or None if it can."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return f"{key!r} has an empty part, `.` or `..`"
    if any(part.startswith(PART) for part in parts):
        return f"{key!r} starts a part with {PART}, which marks unfinished files"
    if "\\" in key or _UNSEEN.search(key):
        return f"{key!r} has a backslash, a control character (also of writing direction) or bytes that are not UTF-8"
    if len(key.encode()) > 900 or any(len(part.encode()) > 255 for part in parts):
        return f"{key[:80]!r}… is longer than 900 bytes, or a part of it longer than 255"
    return None


def safe_name(name: str) -> str:
    """Return `name` if it can be put below a folder on any machine. Raises ValueError otherwise."""
    parts = name.split("/")
    problem = key_problem(name)
    if problem is None and any(p.partition(".")[0].rstrip(" ").upper() in _DEVICES or p[-1] in " ." for p in parts):
        problem = f"{name!r} has a name that some systems keep for devices, or a space or `.` at its end"
    if problem is None and re.match("[A-Za-z]:", name):
        problem = f"{name!r} begins with a drive letter"
    if problem:
        raise ValueError(problem)
    return name


def refuse_more(size: int, most: int | None, place: str) -> None:
    """Raise UserError if the size of a file is more than `most` bytes."""
    if most is not None and size > most:
        raise UserError(f"{place}: has more than {most:,} bytes, as nothing has that Tuneline wrote there. Remove it.")


def check_key(key: str) -> str:
    """Return `key` if it can name a file. Raises UserError otherwise."""
    if problem := key_problem(key):
        raise UserError(f"not a name for the store: {problem}.")
    return key
