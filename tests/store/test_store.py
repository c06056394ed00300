from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import boto3
import pytest
from structlog.testing import capture_logs

from kit.places import KIT
from kit.store_writers import files, publish
from tuneline.errors import Changed, Damaged, Temporary, UserError
from tuneline.store import s3_transfers
from tuneline.store.base import FileRecord, Store, open_store
from tuneline.store.file import FileStore
from tuneline.store.verify import plain_errors

PART = 5 << 20
CHILD = KIT / "store_writers.py"


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def overwrite(store: Store, key: str, data: bytes) -> None:
    """Change a stored object behind the store's back."""
    if isinstance(store, FileStore):
        (store.root / key).write_bytes(data)
    else:
        bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix)]


def leftovers(store: Store) -> list[object]:
    if isinstance(store, FileStore):
        return [p for p in store.root.rglob("*") if p.is_file() and p.name.startswith(".")]
    bucket, _, prefix = store.uri.removeprefix("s3://").partition("/")
    return list(boto3.client("s3").list_multipart_uploads(Bucket=bucket, Prefix=f"{prefix}/").get("Uploads", []))


def test_what_is_put_can_be_got_and_nothing_else(store: Store) -> None:
    assert store.get("a/b.json") is None
    assert store.put("a/b.json", b"one")
    assert store.put("a/b.json", b"two")
    assert store.put("empty", b"")
    assert (store.get("a/b.json"), store.get("empty")) == (b"two", b"")
    assert (store.get("a"), store.get("a/b.json/c")) == (None, None)


def test_put_if_absent_writes_once(store: Store) -> None:
    assert store.put("pin", b"first", if_absent=True)
    assert not store.put("pin", b"second", if_absent=True)
    assert not store.put("pin", b"first", if_absent=True)
    assert store.get("pin") == b"first"


def test_of_many_threads_one_writes(store: Store) -> None:
    rounds = 2 if store.uri.startswith("s3") else 30  # SeaweedFS makes who waits for another writer wait a second
    for n in range(rounds):
        barrier = threading.Barrier(6)

        def write_once(me: int, key: str = f"race/{n}/in/a/new/folder", barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return store.put(key, b"%d" % me, if_absent=True)

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(write_once, range(6)))
        winners = [b"%d" % me for me in range(6) if won[me]]
        assert winners == [store.get(f"race/{n}/in/a/new/folder")]
    assert not leftovers(store)


@pytest.mark.slow
def test_of_many_processes_one_writes(store: Store) -> None:
    out = subprocess.run([sys.executable, str(CHILD), "race", store.uri], check=True, capture_output=True).stdout
    won = {me: keys for line in out.splitlines() for me, keys in json.loads(line).items()}
    assert sorted(won) == list("abcdef")
    assert sorted(key for keys in won.values() for key in keys) == sorted(f"race/{n}" for n in range(8))
    assert all(store.get(key) == me.encode() for me, keys in won.items() for key in keys)


def test_a_list_is_sorted_by_key_and_has_sizes_and_times(store: Store) -> None:
    names = ["a.b", "a/b", "a/b.c/d", "a0", "é/ü 🦙.txt", "x y+z&%41?#", "~"]
    for name in names:
        store.put(name, name.encode())
    assert keys(store) == sorted(names)
    assert keys(store, "a") == ["a.b", "a/b", "a/b.c/d", "a0"]
    assert keys(store, "a/") == ["a/b", "a/b.c/d"]
    assert keys(store, "a/b.c/d") == ["a/b.c/d"]
    assert keys(store, "none/such") == []
    assert all(store.get(name) == name.encode() for name in names)
    before = {e.key: e for e in store.list("")}
    assert before["a.b"].size == 3
    assert abs(before["a.b"].modified - time.time()) < 60
    time.sleep(0.02)
    store.put("a.b", b"new")
    after = {e.key: e for e in store.list("")}
    assert [k for k in names if after[k].stamp != before[k].stamp] == ["a.b"]


def test_a_store_sees_its_prefix_only(uri: str) -> None:
    open_store(uri).put("inner/key", b"1")
    open_store(uri).put("inner2/key", b"1")
    inner = open_store(f"{uri}/inner/")
    assert keys(inner) == ["key"]
    assert inner.uri == open_store(uri).uri + "/inner"
    assert open_store(inner.uri).uri == inner.uri


def test_deleting_is_complete_and_repeatable(store: Store) -> None:
    for n in range(20):
        store.put(f"old/{n}/file", b"x")
    store.put("kept", b"x")
    store.delete(f"old/{n}/file" for n in range(20))
    store.delete(["old/0/file", "never/was"])
    assert keys(store) == ["kept"]
    if isinstance(store, FileStore):
        assert sorted(p.name for p in store.root.iterdir()) == [".part-files", "kept"]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART + 12_345])
def test_a_file_of_any_size_comes_back(
    store: Store, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_transfers, "PART_SIZE", PART)
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    record = store.upload(write(tmp_path / "source", data), "folder/höhe.bin")
    assert record == FileRecord(key="folder/höhe.bin", sha256=hashlib.sha256(data).hexdigest(), size=size)
    store.download(record, tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == data
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["copy"]
    place = store.local(record)
    assert place is None or place.read_bytes() == data
    assert not leftovers(store)


def test_what_happens_to_the_source_later_does_not_reach_the_store(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "source", b"before")
    record = store.upload(source, "file")
    source.write_bytes(b"after!")
    store.download(record, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"before"


def test_damaged_bytes_are_refused_and_named(store: Store, tmp_path: Path) -> None:
    record = store.upload(write(tmp_path / "source", b"flipped"), "results/model.gguf")
    problems = {
        b"fLipped": "its SHA-256 is not",
        b"flippe": "fewer than 7",
        b"flipped!": "more than 7",
        b"": "fewer than 7",
    }
    for stored, problem in problems.items():
        overwrite(store, record.key, stored)
        with pytest.raises(UserError, match=rf"results/model\.gguf: the object is damaged \(.*{problem}"):
            store.download(record, tmp_path / "copy")
        if isinstance(store, FileStore):
            with pytest.raises(UserError, match=rf"results/model\.gguf: the object is damaged \(.*{problem}"):
                store.local(record)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["source"]


def test_a_listed_file_that_is_gone_is_named(store: Store, tmp_path: Path) -> None:
    record = store.upload(write(tmp_path / "source", b"x"), "results/model.gguf")
    store.delete([record.key])
    with pytest.raises(UserError, match=r"results/model\.gguf"):
        store.download(record, tmp_path / "copy")


def test_a_file_that_changes_while_it_is_uploaded_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_transfers, "PART_SIZE", PART)
    source = write(tmp_path / "source", b"x" * (PART + 1))
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.wait(0.001):
            with source.open("r+b") as file:
                file.write(b"y")

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        with pytest.raises(Changed, match="source: the file changed while it was read"):
            for _ in range(100):
                store.upload(source, "file")
    finally:
        stop.set()
        writer.join()
    assert not leftovers(store)


UNSAFE = [
    "",
    "../x",
    "a/../b",
    "/a",
    "a//b",
    "a/",
    "./a",
    "a\0b",
    "a\nb",
    "a\\b",
    ".part-x",
    "é" * 200,
    "a/" * 500 + "b",
]


def test_an_unsafe_key_is_refused_everywhere(store: Store, tmp_path: Path) -> None:
    source = write(tmp_path / "source", b"")
    for key in UNSAFE:
        calls: list[Callable[[], object]] = [
            partial(store.get, key),
            partial(store.put, key, b""),
            partial(store.upload, source, key),
            partial(store.delete, [key]),
        ]
        for call in calls:
            with pytest.raises(UserError, match="not a name for the store"):
                call()
        with pytest.raises(ValueError, match="key"):
            FileRecord(key=key, sha256="0" * 64, size=0)
    assert keys(store) == []


def test_writers_and_deleters_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")

    def write_and_delete(me: int) -> None:
        for n in range(60):
            key = f"a/{n % 3}/b/{me}"
            assert store.put(key, b"x", if_absent=bool(n % 2))
            store.delete([key])
            assert key not in keys(store)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(write_and_delete, range(6))) == [None] * 6
    assert keys(store) == []


def test_links_and_unfinished_files_are_not_listed(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    store.put("runs/r/pin.json", b"{}")
    (store.root / "runs" / "r" / "link").symlink_to("pin.json")
    (store.root / "runs" / "loop").symlink_to(".")
    write(store.root / ".part-files" / ".part-1", b"half")
    assert keys(store) == ["runs/r/pin.json"]
    assert store.sweep(3600) == 0
    assert store.sweep(0) == 1
    assert not leftovers(store)


def test_a_file_store_has_one_address_whatever_the_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("my store")
    spellings = ["my store", "./my store/", "link", str(tmp_path / "my store"), f"file://{tmp_path}/my%20store/"]
    assert {open_store(s).uri for s in spellings} == {f"file://{tmp_path}/my%20store"}


@pytest.mark.parametrize(
    "address",
    ["gs://bucket/x", "s3://", "s3:///x", "s3://bucket/a/../b", "file://host/x", "", "file://x", "~nobody-here/x"],
)
def test_an_address_that_is_no_store_is_refused(address: str) -> None:
    with pytest.raises(UserError):
        open_store(address)


def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    with pytest.raises(UserError, match="file is a file, not a folder"):
        open_store(str(tmp_path / "file" / "store")).put("a", b"")
    with pytest.raises(UserError, match="file is a file, not a folder"):
        open_store(str(tmp_path)).put("file/a", b"", if_absent=True)


def test_a_full_disk_is_temporary() -> None:
    with pytest.raises(Temporary, match=r"model: No space left on device\. Free space"), plain_errors("model"):
        Path("/dev/full").write_bytes(b"x")


def killed_stores(uri: str) -> Iterator[Store]:
    out = subprocess.run([sys.executable, str(CHILD), "publish", uri], check=True, capture_output=True).stdout
    assert int(out) >= 7
    for point in range(int(out) + 1):
        yield open_store(f"{uri}/{point}")


@pytest.mark.slow
def test_a_writer_killed_at_any_operation_leaves_nothing_or_everything(uri: str, tmp_path: Path) -> None:
    outcomes = set()
    for store in killed_stores(open_store(uri).uri):
        for run in ("killed", "again"):
            manifest = store.get("manifest.json")
            for record in map(FileRecord.model_validate, json.loads(manifest or b"[]")):
                store.download(record, tmp_path / "copy")
                assert (tmp_path / "copy").read_bytes() == files(store)[record.key.split("/", 2)[2]]
            outcomes.add((run, manifest is not None, store.get("runs/one.json") is not None))
            publish(store)
        store.sweep(0)
        assert not leftovers(store)
    assert outcomes == {
        ("killed", False, False),
        ("killed", True, False),
        ("killed", True, True),
        ("again", True, True),
    }


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/x", "S3://bucket/x", "s3://", "s3:///x", "s3:bucket/x", "s3://bucket/../x", "s3://bucket/a\0b",
        "file:x", "file://", "file://host/x", "", "a\0b", "FOLDER/file", "FOLDER/file/x", "FOLDER/loop/x",
        "FOLDER/" + "a" * 300, "file://FOLDER/file",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_a_store_is_refused_with_the_way_out(uri: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError) as refused:
        open_store(uri.replace("FOLDER", str(tmp_path)))
    ways_out = "A store is|an S3 address is|a file address has|is not a path|file, not a folder|too long|Too many"
    assert re.search(ways_out, str(refused.value))
    assert "\0" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"]


def test_files_in_a_folder_that_cannot_have_a_key_are_passed_over(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("a/b", b"")
    (tmp_path / "a" / "\x1b[31m").write_text("")
    with capture_logs() as logs:
        assert keys(store) == ["a/b"]
    assert len(logs) == 1 and "\x1b" not in str(logs[0])


def test_of_a_file_no_more_is_read_than_is_asked_for(store: Store) -> None:
    store.put("file", bytes(1000))
    assert store.get("file", 1000) == bytes(1000)
    with pytest.raises(
        UserError, match=r"file: has more than 999 bytes, as nothing has that Tuneline wrote there\. Rem"
    ):
        store.get("file", 999)


@pytest.mark.parametrize("kind", ["pipe", "device", "link to itself"])
def test_what_is_no_file_is_neither_waited_for_nor_read(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "key"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if kind == "device" else place)
    if kind == "link to itself":
        with pytest.raises(UserError, match="key: Too many levels of symbolic links"):
            FileStore(tmp_path).get("key")
    else:
        assert FileStore(tmp_path).get("key") is None
        for read in (lambda one: FileStore(tmp_path).download(one, tmp_path / "copy"), FileStore(tmp_path).local):
            with pytest.raises(Damaged, match="key: is gone"):
                read(FileRecord(key="key", sha256="0" * 64, size=1))
