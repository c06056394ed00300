"""Files too large for one request, and many files at once."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count, cycle
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest

from kit import store_memory
from kit.s3_proxy import Fault, Kind, Proxy
from tuneline.errors import Changed, UserError
from tuneline.store import s3_transfers
from tuneline.store.base import FileRecord, in_parallel, open_store
from tuneline.store.s3 import S3Store

PART = 5 << 20
MEMORY = 200 << 20
"""Bytes by which a process may grow, whatever it transfers."""


@pytest.fixture
def store(s3: str, network: Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3_transfers, "PART_SIZE", PART)
    return S3Store(*s3.removeprefix("s3://").split("/"))


@pytest.fixture
def large(store: S3Store, tmp_path: Path) -> FileRecord:
    """A file of three ranges, no two of which are alike."""
    data = b"".join(n.to_bytes(8, "big") for n in range((2 * PART + 1000) // 8))
    (tmp_path / "source").write_bytes(data)
    return store.upload(tmp_path / "source", "large")


def reads(network: Proxy) -> int:
    return len([request for request in network.seen if request.startswith("GET")])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_large_file_is_fetched_in_ranges(store: S3Store, large: FileRecord, network: Proxy, tmp_path: Path) -> None:
    store.download(large, tmp_path / "copy")
    assert reads(network) == 3
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    entry = store.head("large")
    assert entry is not None
    assert store.fetch(entry, tmp_path / "fetched") == large.sha256
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "source").read_bytes()
    assert names(tmp_path) == ["copy", "fetched", "source"]


@pytest.mark.parametrize("kind", ["cut answer", "503 SlowDown", "reset"])
def test_of_a_large_file_only_the_range_that_failed_is_read_again(
    store: S3Store, large: FileRecord, network: Proxy, kind: Kind, tmp_path: Path
) -> None:
    network.plan(Fault(kind, "GET", times=2))
    store.download(large, tmp_path / "copy")
    assert reads(network) == 3 + 2
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_range_that_was_damaged_is_noticed_and_the_file_is_read_again(
    store: S3Store, large: FileRecord, network: Proxy, tmp_path: Path
) -> None:
    network.plan(Fault("flip answer", "GET"))
    store.download(large, tmp_path / "copy")
    assert reads(network) == 2 * 3
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_large_file_that_is_damaged_three_times_is_refused_and_named(
    store: S3Store, large: FileRecord, network: Proxy, tmp_path: Path
) -> None:
    network.plan(Fault("flip answer", "GET", times=9))
    with pytest.raises(UserError, match=r"s3://.*/large: the object is damaged \(its SHA-256 is not"):
        store.download(large, tmp_path / "copy")
    assert reads(network) == 3 * 3
    assert names(tmp_path) == ["source"]


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_large_input_is_compared_with_the_checksum_that_the_server_keeps(
    store: S3Store, large: FileRecord, network: Proxy, tmp_path: Path, in_parts: bool
) -> None:
    data = (tmp_path / "source").read_bytes()
    if not in_parts:  # as another program may have written it
        store.put("large", data)
    entry = store.head("large")
    assert entry is not None
    network.plan(Fault("flip answer", "GET"))
    assert store.fetch(entry, tmp_path / "fetched") == hashlib.sha256(data).hexdigest()
    assert reads(network) == 2 * 3
    network.plan(Fault("flip answer", "GET", times=9))
    with pytest.raises(UserError, match=r"s3://.*/large: the object is damaged"):
        store.fetch(entry, tmp_path / "again")
    assert names(tmp_path) == ["fetched", "source"]


@pytest.mark.parametrize(
    ("stored", "problem"),
    [(b"", "fewer than"), (bytes(2 * PART), "fewer than"), (bytes(3 * PART), "more than"), (None, "is gone")],
)
def test_another_object_in_the_place_of_a_large_file_is_refused_and_named(
    store: S3Store, large: FileRecord, stored: bytes | None, problem: str, tmp_path: Path
) -> None:
    if stored is None:
        store.delete(["large"])
    else:
        store.put("large", stored)
    with pytest.raises(UserError, match=f"s3://.*/large: .*{problem}"):
        store.download(large, tmp_path / "copy")
    assert names(tmp_path) == ["source"]


def test_ranges_are_never_of_two_objects(store: S3Store, large: FileRecord, tmp_path: Path) -> None:
    entry = store.head("large")
    assert entry is not None
    store.put("large", bytes(large.size))
    with pytest.raises(Changed, match="large: the object changed while it was read"):
        store.fetch(entry, tmp_path / "copy")
    assert names(tmp_path) == ["source"]


def test_a_server_that_does_not_know_ranges_is_noticed(
    store: S3Store, large: FileRecord, network: Proxy, tmp_path: Path
) -> None:
    network.plan(Fault("ignore range", "GET"))
    store.download(large, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    network.plan(Fault("ignore range", "GET", times=9))
    with pytest.raises(UserError, match="large: the object is damaged"):
        store.download(large, tmp_path / "other")
    assert names(tmp_path) == ["copy", "source"]


@pytest.mark.parametrize("size", [3 << 20, 2 * PART + 1])
def test_bodies_leave_in_blocks_so_that_a_slow_line_has_time(store: S3Store, size: int, tmp_path: Path) -> None:
    bodies: list[tuple[str, object]] = []

    def note(request: AWSPreparedRequest, **_: object) -> None:
        bodies.append((request.method, request.body))

    store._client.meta.events.register("before-send.s3", note)
    (tmp_path / "file").write_bytes(bytes(size))
    store.upload(tmp_path / "file", "file")
    puts = [body for method, body in bodies if method == "PUT"]
    assert len(puts) == -(-size // PART)
    assert all(isinstance(body, BytesIO) for body in puts)


@contextmanager
def kept_changing(path: Path, lengths: Iterator[int]) -> Iterator[None]:
    """Give a file one length after the other until the block ends."""
    stop = threading.Event()

    def change() -> None:
        while not stop.wait(0.002):
            os.truncate(path, next(lengths))

    writer = threading.Thread(target=change)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("lengths", [count(3 * PART), cycle([PART + 1, 3 * PART])], ids=["grows", "shrinks and grows"])
def test_a_large_file_that_grows_or_shrinks_while_it_is_uploaded_is_refused(
    store: S3Store, large: FileRecord, lengths: Iterator[int], tmp_path: Path
) -> None:
    store.delete(["large"])
    with kept_changing(tmp_path / "source", lengths), pytest.raises(Changed, match="source: the file changed"):
        store.upload(tmp_path / "source", "large")
    assert list(store.list("")) == []
    assert store.sweep(0) == 0


def test_of_many_files_each_comes_back_and_a_damaged_one_is_named(store: S3Store, tmp_path: Path) -> None:
    paths = [tmp_path / "source" / f"{n:02}" for n in range(40)]
    (tmp_path / "source").mkdir()
    for n, path in enumerate(paths):
        path.write_bytes(b"%d" % n * n)
    records = in_parallel(store.upload, paths, [path.name for path in paths])
    assert [r.sha256 for r in records] == [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths]
    store.put("23", b"?" * records[23].size)
    with pytest.raises(UserError, match="/23: the object is damaged"):
        in_parallel(store.download, records, [tmp_path / "copy" / path.name for path in paths])
    for path in (tmp_path / "copy").iterdir():
        assert path.read_bytes() == (tmp_path / "source" / path.name).read_bytes()


def sparse(path: Path, size: int) -> Path:
    """Make a file of which no two parts are alike, without writing much."""
    with path.open("wb") as file:
        for at in range(0, size, 1 << 20):
            file.seek(at)
            file.write(at.to_bytes(8, "big"))
        file.truncate(size)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("files", "size"), [(1, (1 << 30) + 12_345), (24, 24 << 20)])
def test_memory_stays_small_however_large_or_many_files_are(s3: str, files: int, size: int, tmp_path: Path) -> None:
    paths = [sparse(tmp_path / f"file-{n}", size + n) for n in range(files)]
    up = store_memory.upload(s3, paths)
    down = store_memory.download(s3, up.records, tmp_path / "copy")
    open_store(s3).delete(record.key for record in up.records)
    for path in paths:
        path.unlink()
        (tmp_path / "copy" / path.name).unlink()
    assert [record.size for record in up.records] == [size + n for n in range(files)]
    assert up.growth < MEMORY
    assert down.growth < MEMORY
