from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from kit.s3_proxy import Fault, Kind, Proxy
from tuneline.errors import Temporary, UserError
from tuneline.store import s3_client, s3_transfers
from tuneline.store.base import open_store
from tuneline.store.s3 import S3Store

PART = 5 << 20


@pytest.fixture
def store(s3: str, network: Proxy) -> S3Store:
    store = S3Store(*s3.removeprefix("s3://").split("/"))
    store.put("proof", b"", if_absent=True)  # the first one is put to the test
    store.delete(["proof"])
    network.seen.clear()
    return store


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "TRIES", 3)


def large_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(s3_transfers, "PART_SIZE", PART)
    path = folder / "large"
    path.write_bytes(bytes(range(256)) * (2 * PART // 256 + 1))
    return path


def open_uploads(store: S3Store) -> int:
    return len(boto3.client("s3").list_multipart_uploads(Bucket=store.bucket).get("Uploads", []))


def test_a_put_whose_answer_is_lost_knows_that_it_won(store: S3Store, network: Proxy) -> None:
    network.plan(Fault("lose answer", "PUT", "pin", times=2))
    assert store.put("pin", b"mine", if_absent=True)
    assert len([r for r in network.seen if r.startswith("PUT")]) == 3
    network.plan(Fault("lose answer", "PUT", "pin"))
    assert not store.put("pin", b"mine", if_absent=True)
    assert store.get("pin") == b"mine"


@pytest.mark.parametrize(
    "kind", ["503 SlowDown", "409 ConditionalRequestConflict", "reset", "lose answer", "flip request"]
)
def test_a_put_gets_through_a_bad_network(store: S3Store, network: Proxy, kind: Kind) -> None:
    network.plan(Fault(kind, "PUT", times=3))
    assert store.put("key", b"the bytes that were meant", if_absent=True)
    assert store.get("key") == b"the bytes that were meant"


@pytest.mark.parametrize("kind", ["503 SlowDown", "reset", "flip answer", "cut answer"])
def test_a_get_gets_through_a_bad_network(store: S3Store, network: Proxy, kind: Kind) -> None:
    store.put("key", b"the bytes that were meant")
    network.plan(Fault(kind, "GET", times=2))
    assert store.get("key") == b"the bytes that were meant"


@pytest.mark.parametrize("kind", ["503 SlowDown", "reset", "lose answer", "flip request"])
def test_an_upload_in_parts_gets_through_a_bad_network(
    store: S3Store, network: Proxy, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large_file(tmp_path, monkeypatch)
    network.plan(Fault(kind, "PUT", times=2), Fault("lose answer", "POST", "uploadId"))
    record = store.upload(path, "large")
    store.download(record, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert open_uploads(store) == 0


@pytest.mark.usefixtures("impatient")
def test_an_upload_that_cannot_finish_leaves_no_parts(
    store: S3Store, network: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.plan(Fault("503 SlowDown", "PUT", "partNumber=2", times=3))
    with pytest.raises(Temporary, match=r"large: SlowDown, 3 times\. Run the same command again"):
        store.upload(large_file(tmp_path, monkeypatch), "large")
    assert open_uploads(store) == 0
    assert list(store.list("")) == []


@pytest.mark.usefixtures("impatient")
def test_bytes_that_are_always_damaged_on_the_way_are_never_stored(store: S3Store, network: Proxy) -> None:
    network.plan(Fault("flip request", "PUT", times=9))
    with pytest.raises(Temporary):
        store.put("key", b"the bytes that were meant")
    assert store.get("key") is None


@pytest.mark.parametrize("kind", ["flip answer", "cut answer", "503 SlowDown", "reset"])
def test_a_download_gets_through_a_bad_network(store: S3Store, network: Proxy, kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"flipped" * 1000)
    record = store.upload(tmp_path / "source", "file")
    network.plan(Fault(kind, "GET", times=2))
    store.download(record, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"flipped" * 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "source"]


def test_a_download_that_is_damaged_three_times_is_refused_and_named(
    store: S3Store, network: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"flipped" * 1000)
    record = store.upload(tmp_path / "source", "results/model.gguf")
    network.plan(Fault("flip answer", "GET", times=9))
    with pytest.raises(UserError, match=r"s3://.*/results/model\.gguf: the object is damaged \(its SHA-256 is not"):
        store.download(record, tmp_path / "copy")
    assert len([r for r in network.seen if r.startswith("GET")]) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stays_away_is_temporary(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Temporary, match=r'to the endpoint URL: "http://127.*", 3 times\. Check AWS_'):
        open_store(s3).get("key")


@pytest.mark.parametrize("method", ["get", "put", "list", "upload", "delete"])
def test_a_wrong_key_is_refused_at_once(
    network: Proxy, s3: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    _refused_at_once(
        network, s3, method, tmp_path, r"access denied \(SignatureDoesNotMatch\)\. Check AWS_ACCESS_KEY_ID"
    )


@pytest.mark.parametrize("method", ["get", "put", "list", "upload"])
def test_a_bucket_that_does_not_exist_is_refused_at_once(network: Proxy, method: str, tmp_path: Path) -> None:
    _refused_at_once(network, "s3://no-such-bucket/x", method, tmp_path, r"no such bucket\. Create it")


def test_missing_credentials_are_refused_at_once(
    network: Proxy, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    _refused_at_once(network, s3, "get", tmp_path, r"no credentials were found\. Check AWS_ACCESS_KEY_ID")


def _refused_at_once(network: Proxy, uri: str, method: str, tmp_path: Path, message: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = open_store(uri)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("k"),
        "put": lambda: store.put("k", b"", if_absent=True),
        "list": lambda: list(store.list("")),
        "upload": lambda: store.upload(tmp_path / "file", "k"),
        "delete": lambda: store.delete(["k"]),
    }
    before = time.monotonic()
    with pytest.raises(UserError, match=message):
        calls[method]()
    assert time.monotonic() - before < 30
    assert len(network.seen) <= 3


def test_a_key_that_leads_out_of_the_store_is_refused_in_a_listing(store: S3Store, network: Proxy) -> None:
    store.put("given/inside/file", b"")
    network.plan(Fault("lead out", "GET"))
    with pytest.raises(UserError, match=r"'given/\.\./\.\./file' has an empty part, `\.` or `\.\.`\. Rename or remove"):
        list(store.list("given/"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("first page", r"lists no more than its first objects .*\. Use another server"),
        ("no ETag", r"does not say the ETag of an object\. Use another server"),
        (
            "307 TemporaryRedirect",
            r"leads elsewhere \(HTTP 307 to 'https://elsewhere\.example'\)\. Correct AWS_ENDPOINT_URL",
        ),
    ],
)
def test_a_listing_that_is_not_as_s3_has_it_is_refused_at_once(
    store: S3Store, network: Proxy, kind: Kind, message: str
) -> None:
    store.put("file", b"text")
    network.seen.clear()
    network.plan(Fault(kind, "GET"))
    with pytest.raises(UserError, match=message):
        list(store.list(""))
    assert len(network.seen) == 1


@pytest.mark.parametrize("lists", [9, 3])
def test_an_object_of_another_size_than_it_is_listed_with_is_refused(
    store: S3Store, lists: int, tmp_path: Path
) -> None:
    store.put("file", b"a text")
    [entry] = store.list("")
    with pytest.raises(UserError, match=rf"file: the server sends (fewer|more) than the {lists} bytes that it lists"):
        store.fetch(entry._replace(size=lists), tmp_path / "copy")
    assert not list(tmp_path.iterdir())


def test_a_range_is_read_also_from_a_server_that_sends_all(store: S3Store, network: Proxy) -> None:
    store.put("file", b"0123456789")
    assert store.read_range("file", 4, 7) == b"456"
    network.plan(Fault("send all", "GET"))
    assert store.read_range("file", 4, 7) == b"456"
    assert not network.unmet


def test_expired_credentials_are_refused_at_once(network: Proxy, s3: str, tmp_path: Path) -> None:
    network.plan(Fault("400 ExpiredToken", "PUT"))
    _refused_at_once(network, s3, "put", tmp_path, r"the credentials have expired \(ExpiredToken\)\. Renew them")


def test_an_object_that_stands_for_a_folder_is_not_listed(s3: str) -> None:
    bucket, _, prefix = s3.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/folder/", Body=b"")
    open_store(s3).put("folder/file", b"")
    assert [e.key for e in open_store(s3).list("")] == ["folder/file"]


def test_unfinished_uploads_are_swept(s3: str) -> None:
    store = S3Store(*s3.removeprefix("s3://").split("/"))
    client = boto3.client("s3")
    client.create_multipart_upload(Bucket=store.bucket, Key=f"{s3.rpartition('/')[2]}/left")
    assert store.sweep(3600) == 0
    assert store.sweep(0) == 1
    assert open_uploads(store) == 0
