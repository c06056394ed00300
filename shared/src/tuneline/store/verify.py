"""Bytes on their way to a disk: hashed while they pass, kept only when they are the right ones."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar
from uuid import uuid4

from tuneline.errors import Changed, Damaged, Temporary, UserError
from tuneline.store.base import PART, FileRecord

BLOCK = 1 << 20
"""Bytes per read."""
COPIES = 3
"""Copies made of a stored file before it counts as damaged."""

Block = TypeVar("Block", bound=Sized)

_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


class Written(NamedTuple):
    """What went to disk: bytes, and their SHA-256 as 64 hex digits."""

    size: int
    sha256: str


@contextmanager
def plain_errors(what: str | Path) -> Iterator[None]:
    """Turn an OSError into one sentence about `what`: Temporary for a full or ailing disk, UserError for the rest."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the disk: botocore's time-outs are OSErrors too
            raise
        reason = f"{what}: {error.strerror or type(error).__name__}"
        if error.errno in _MAY_PASS:
            raise Temporary(f"{reason}. Free space or repair the disk, then run the same command again.") from error
        raise UserError(f"{reason}.") from error


@contextmanager
def plain_disk_errors() -> Iterator[None]:
    """Do as `plain_errors` does for what a disk refuses, wherever that happens; any other OSError is a bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MAY_PASS | _FORBIDDEN:
            raise
        with plain_errors(str(error.filename or "a work file")):
            raise


def unchanging_blocks(file: BinaryIO, path: Path, read: Callable[[], Block | None]) -> Iterator[Block]:
    """Yield what `read` finds in `file`, then raise Changed if it no longer is what it was at the start."""
    before = os.fstat(file.fileno())
    size = 0
    while block := read():
        size += len(block)
        if size > before.st_size:
            break
        yield block
    after = os.fstat(file.fileno())
    if (size, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise Changed(f"{path}: the file changed while it was read. Run again when nothing is writing to it.")


def hash_file(path: Path) -> Written:
    """Return size and hash of a file. Raises Changed if it changes meanwhile."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        for block in unchanging_blocks(file, path, lambda: file.read(BLOCK)):
            digest.update(block)
            size += len(block)
    return Written(size, digest.hexdigest())


def write_new(path: Path, blocks: Iterable[bytes], *, limit: int | None = None, sync: bool = False) -> Written:
    """Write `blocks` to a file, and nothing else; stop once there are more than `limit` bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for block in blocks:
            size += len(block)
            if limit is not None and size > limit:
                break
            digest.update(block)
            file.write(block)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return Written(size, digest.hexdigest())


@contextmanager
def part_for(dest: Path) -> Iterator[Path]:
    """Offer a name beside `dest` for its unfinished bytes; what is still there in the end is removed."""
    part = dest.with_name(f"{PART}{uuid4().hex}")
    with plain_errors(dest):
        dest.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def save_verified(record: FileRecord, dest: Path, copy: Callable[[Path], Written], source: str) -> None:
    """Let `copy` write a file, and name it `dest` if it is what `record` says; `source` names the object in errors.

    Raises UserError after COPIES copies with another size or hash.
    """
    for _ in range(COPIES):
        with part_for(dest) as part:
            found = copy(part)
            if found == (record.size, record.sha256):
                part.replace(dest)
                return
    raise damaged(record, source, found)


def damaged(record: FileRecord, source: str, found: Written) -> Damaged:
    """Return the error for a stored file that is not what its record says."""
    if found.size == record.size:
        problem = f"its SHA-256 is not {record.sha256}"
    else:
        problem = f"it has {'fewer' if found.size < record.size else 'more'} than {record.size} bytes"
    return lost(source, f"the object is damaged ({problem})")


def lost(source: str, problem: str) -> Damaged:
    """Return the error for a stored file that cannot be had any more."""
    return Damaged(f"{source}: {problem}. Delete the result it belongs to and make it again.")


class FileCache(NamedTuple):
    """A folder of files named by their SHA-256; without a folder nothing is kept. It never copies, it links."""

    folder: Path | None = None

    def take(self, sha256: str, place: Path) -> bool:
        place.parent.mkdir(parents=True, exist_ok=True)
        return self.folder is not None and _linked(self.folder / sha256, place)

    def keep(self, sha256: str, place: Path) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            _linked(place, self.folder / sha256)

    def note(self, key: str, data: bytes) -> None:
        """Keep what one process has found out for those it starts."""
        if self.folder is not None:
            (self.folder / "notes" / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "notes" / key).write_bytes(data)

    def noted(self, key: str) -> bytes | None:
        place = self.folder / "notes" / key if self.folder is not None else None
        return place.read_bytes() if place is not None and place.exists() else None


def _linked(source: Path, place: Path) -> bool:
    try:
        place.hardlink_to(source)
    except OSError:  # it is not there, or on another disk: then it is fetched; or it is here already, which is as good
        return False
    return True
