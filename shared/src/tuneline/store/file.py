"""A store in a folder.

A file appears by one `rename` (or, if it must not exist yet, one `link`) of a synced temporary file in `.part-files/`:
a reader sees all of it or nothing, also after a power cut. Symbolic links are for people and never listed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import structlog

from tuneline.store import verify
from tuneline.store.base import PART, Entry, FileRecord, check_key, key_problem, refuse_more
from tuneline.store.verify import Written, plain_errors

log = structlog.get_logger()


class FileStore:
    """The store in the folder `root`, on a file system with hard links (all but FAT)."""

    def __init__(self, root: Path) -> None:
        with plain_errors(root):
            try:
                self.root = root.resolve()
            except RuntimeError:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
            there = next(p for p in (self.root, *self.root.parents) if p.exists())
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file, not a folder")
        self.uri = self.root.as_uri()
        self._parts = self.root / f"{PART}files"

    def get(self, key: str, most: int | None = None) -> bytes | None:
        path = self._path(key)
        with plain_errors(path), _opened(path) as file:
            if file is None:
                return None
            refuse_more(os.fstat(file.fileno()).st_size, most, str(path))
            return file.read()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return self._write(self._path(key), [data], if_absent) is not None

    def list(self, prefix: str) -> Iterator[Entry]:
        folder = prefix.rpartition("/")[0]
        base = self._path(folder) if folder else self.root
        for key, found in _walk(base, f"{folder}/" if folder else ""):
            if not key.startswith(prefix):
                continue
            if problem := key_problem(key):
                log.warning("foreign file ignored", store=self.uri, problem=problem)
            else:
                yield Entry(key, found.st_size, found.st_mtime, stamp_of(found))

    def upload(self, path: Path, key: str) -> FileRecord:
        """The file is copied: a hard link would change when its other name is written to."""
        with plain_errors(path), path.open("rb") as file:
            written = self._write(
                self._path(key), verify.unchanging_blocks(file, path, lambda: file.read(verify.BLOCK)), if_absent=False
            )
        assert written
        return FileRecord(key=key, sha256=written.sha256, size=written.size)

    def download(self, record: FileRecord, dest: Path) -> None:
        path = self._path(record.key)

        def blocks() -> Iterator[bytes]:
            with _present(path) as file:
                while block := file.read(verify.BLOCK):
                    yield block

        verify.save_verified(record, dest, lambda part: verify.write_new(part, blocks(), limit=record.size), str(path))

    def delete(self, keys: Iterable[str]) -> None:
        """Folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with plain_errors(path):
                path.unlink(missing_ok=True)
            _remove_empty(path.parent, self.root)

    def local(self, record: FileRecord) -> Path:
        path = self._path(record.key)
        with _present(path):
            found = verify.hash_file(path)
        if found != (record.size, record.sha256):
            raise verify.damaged(record, str(path), found)
        return path

    def sweep(self, older_than: float) -> int:
        """The work files of killed stages, which lie in `scratch`, go too."""
        removed = 0
        with plain_errors(self.root):
            for left in (*self._parts.glob(f"{PART}*"), *(self.root / "scratch").glob("*")):
                with suppress(FileNotFoundError):  # its writer has just finished
                    youngest = max(path.lstat().st_mtime for path in (left, *left.rglob("*")))
                    if time.time() - youngest >= older_than:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                        removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _write(self, path: Path, blocks: Iterable[bytes], if_absent: bool) -> Written | None:
        """Make `path` appear with all of `blocks`; return None if it exists already and `if_absent`."""
        part = self._parts / f"{PART}{uuid4().hex}"
        with plain_errors(path):
            _make_folder(self._parts)
            try:
                written = verify.write_new(part, blocks, sync=True)
                named = _give_name(part, path, if_absent)
            finally:
                part.unlink(missing_ok=True)
            if named:
                with suppress(FileNotFoundError):  # removed again by somebody else
                    _sync_folder(path.parent)
        return written if named else None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe in the place of a file would be waited for


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    """Open a file; None if there is none, or something that is no file."""
    try:
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115  (closed below)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        yield None
        return
    with file:
        yield file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


@contextmanager
def _present(path: Path) -> Iterator[BinaryIO]:
    """Open a file that a record names."""
    with plain_errors(path), _opened(path) as file:
        if file is None:
            raise verify.lost(str(path), "is gone")
        yield file


def stamp_of(found: os.stat_result) -> str:
    """Return what changes whenever a file does, even if its modification time is set back."""
    return f"{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def _give_name(part: Path, path: Path, if_absent: bool) -> bool:
    """Make `part` appear as `path`; False if that exists already and `if_absent`."""
    for _ in range(20):
        _make_folder(path.parent)
        try:
            path.hardlink_to(part) if if_absent else part.replace(path)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            continue  # another process removed the folder as an empty one just before it was filled
    raise FileNotFoundError(errno.ENOENT, "the folder disappears again and again", str(path))


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlast a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)
    except (FileNotFoundError, FileExistsError):
        # Somebody else made or removed folders at the same time: the caller tries again.
        if folder.is_file():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, not a folder") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(folder: Path, root: Path) -> None:
    with suppress(OSError):  # one that is in use, or gone already
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (key, stat) of the regular files below `folder`, sorted by key, without unfinished ones."""
    with plain_errors(folder):
        try:
            with os.scandir(folder) as found:
                entries = {e.name + "/" * e.is_dir(follow_symlinks=False): e for e in found}
        except (FileNotFoundError, NotADirectoryError):
            return
    for name, entry in sorted(entries.items()):
        if name.startswith(PART):
            continue
        if name.endswith("/"):
            yield from _walk(Path(entry.path), prefix + name)
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # deleted since
                yield prefix + name, entry.stat(follow_symlinks=False)
