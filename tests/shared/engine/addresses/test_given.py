from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import boto3
import pytest

from tuneline.engine.addresses.given import check_unchanged, identify, known_from, known_to
from tuneline.engine.addresses.listing import list_given
from tuneline.engine.identity import folder_sha256
from tuneline.errors import Changed, UserError

FILES = {"a.jsonl": b"one\n", "deep/b.jsonl": b"two\n", "deep/c.txt": b"three\n", "é.jsonl": b""}


def make_folder(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "file.jsonl").write_bytes(b"x")
    return folder


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A given folder, on a disk and in S3."""
    folder = make_folder(tmp_path / "given")
    if request.param == "file":
        return str(folder)
    s3 = str(request.getfixturevalue("s3"))
    bucket, _, prefix = s3.removeprefix("s3://").partition("/")
    for path in folder.rglob("*"):
        if path.is_file():
            boto3.client("s3").upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")
    return s3


def write(uri: str, name: str, data: bytes | None) -> None:
    if not uri.startswith("s3://"):
        Path(uri, name).write_bytes(data) if data is not None else Path(uri, name).unlink()
        return
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if data is None:
        boto3.client("s3").delete_object(Bucket=bucket, Key=f"{prefix}/{name}")
    else:
        boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


def test_a_folder_is_the_same_wherever_it_lies(uri: str, tmp_path: Path) -> None:
    fetched = identify(list_given(uri + "/"), tmp_path / "dest")
    assert {n: f.sha256 for n, f in fetched.files.items()} == {
        n: hashlib.sha256(d).hexdigest() for n, d in FILES.items()
    }
    assert {n: (fetched.path / n).read_bytes() for n in FILES} == FILES
    assert (fetched.size, len(fetched.files)) == (sum(map(len, FILES.values())), 4)
    assert fetched.path == (tmp_path / "dest" if uri.startswith("s3") else Path(uri))
    lines = subprocess.check_output(["sha256sum", "--", *FILES], cwd=tmp_path / "given").splitlines(keepends=True)
    assert fetched.sha256 == hashlib.sha256(b"".join(sorted(lines))).hexdigest()


def test_patterns_choose_files_and_the_rest_does_not_count(uri: str, tmp_path: Path) -> None:
    fetched = identify(list_given(uri, ["*.jsonl", "none*"]), tmp_path / "dest")
    assert list(fetched.files) == ["a.jsonl", "deep/b.jsonl", "é.jsonl"]
    write(uri, "deep/c.txt", b"changed")
    assert identify(list_given(uri, ["*.jsonl"]), tmp_path / "again").sha256 == fetched.sha256
    check_unchanged(fetched)


def test_a_single_file_is_its_own_bytes(uri: str, tmp_path: Path) -> None:
    fetched = identify(list_given(f"{uri}/a.jsonl", ["ignored*"]), tmp_path / "dest")
    assert (fetched.sha256, fetched.size, len(fetched.files)) == (hashlib.sha256(b"one\n").hexdigest(), 4, 1)
    assert list(fetched.files) == ["a.jsonl"]
    assert (fetched.path.name, fetched.path.read_bytes()) == ("a.jsonl", b"one\n")
    assert list_given(fetched.uri) == list_given(f"{uri}/a.jsonl")


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl", b"ONE\n"), ("a.jsonl", b"longer"), ("new.jsonl", b""), ("deep/b.jsonl", None)]
)
def test_a_folder_that_changes_after_it_was_listed_is_refused(
    uri: str, name: str, data: bytes | None, tmp_path: Path
) -> None:
    listed = list_given(uri)
    write(uri, name, data)
    with pytest.raises(UserError, match=name if data == b"" else None):
        identify(listed, tmp_path / "dest")


def test_a_folder_that_keeps_changing_is_refused(tmp_path: Path) -> None:
    folder, over = make_folder(tmp_path / "given"), threading.Event()
    (folder / "big").write_bytes(b"x" * 20_000_000)

    def keep_writing() -> None:
        while not over.wait(0.001):
            (folder / "late.jsonl").write_bytes(b"late" * int(time.monotonic() * 1000 % 1000))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        with pytest.raises(Changed, match=r"given: the folder changed while it was read: late\.jsonl\. Run again"):
            identify(list_given(str(folder)), tmp_path / "dest")
    finally:
        over.set()
        writer.join()


def test_a_local_input_that_changes_after_it_was_read_is_noticed(tmp_path: Path) -> None:
    fetched = identify(list_given(str(make_folder(tmp_path / "given"))), tmp_path / "dest")
    check_unchanged(fetched)
    path = fetched.path / "a.jsonl"
    times = path.stat()
    path.write_bytes(b"ONE\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Changed, match=r"the folder changed while it was read: a\.jsonl"):
        check_unchanged(fetched)


def test_what_is_known_is_not_hashed_again_until_it_changes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "given")
    first = identify(list_given(str(folder)), tmp_path / "dest")
    known = {name: file._replace(sha256="0" * 64) for name, file in known_from(known_to(first.files)).items()}
    (folder / "a.jsonl").write_bytes(b"ONE\n")
    second = identify(list_given(str(folder)), tmp_path / "dest", known)
    hashed = [name for name, file in second.files.items() if file.sha256 != "0" * 64]
    assert hashed == ["a.jsonl"]
    assert second.sha256 == folder_sha256({n: f.sha256 for n, f in second.files.items()}) != first.sha256


@pytest.mark.parametrize("data", [None, b"", b"no json", b'{"a": 1}', b'{"a": [1, "x"]}'])
def test_nothing_is_known_from_a_damaged_record(data: bytes | None) -> None:
    assert known_from(data) == {}


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "given")
    shutil.move(folder / "a.jsonl", tmp_path / "blob")
    (folder / "a.jsonl").symlink_to("../blob")
    shutil.move(folder / "deep", tmp_path / "deep")
    (folder / "deep").symlink_to("../deep")
    (folder / "also deep").symlink_to("../deep")
    files = identify(list_given(str(folder)), tmp_path / "dest").files
    assert list(files) == ["a.jsonl", "also deep/b.jsonl", "also deep/c.txt", "deep/b.jsonl", "deep/c.txt", "é.jsonl"]
    (tmp_path / "link.jsonl").symlink_to("blob")
    assert identify(list_given(str(tmp_path / "link.jsonl")), tmp_path / "dest").path.name == "link.jsonl"
