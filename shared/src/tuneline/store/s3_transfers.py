"""Large files to S3 and back: boto3's transfer manager, each of its requests repeated as ours are, each part hashed."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber
from s3transfer.utils import ChunksizeAdjuster

from tuneline.store.base import TRANSFERS
from tuneline.store.s3_client import TRIES, retry
from tuneline.store.verify import BLOCK, Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef
    from s3transfer.futures import TransferFuture

PART_SIZE = 8 << 20
"""Bytes of a part; a file up to this size is copied whole. With TRANSFERS it bounds the memory of uploads: 128 MiB."""


def manager(client: S3Client) -> TransferManager:
    """Return the manager of all transfers of a store: together they have TRANSFERS connections."""
    config = TransferConfig(
        multipart_threshold=PART_SIZE, multipart_chunksize=PART_SIZE, max_request_concurrency=TRANSFERS,
        max_submission_concurrency=TRANSFERS, io_chunksize=BLOCK // 4, max_io_queue_size=64,
        num_download_attempts=TRIES,
    )  # fmt: skip
    return TransferManager(cast("S3Client", _Requests(client)), config)


class _Requests:
    """What the manager asks of a client, each request repeated until the server answers."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        # Otherwise it would wait for a first range, to learn what `Known` tells it.
        config = client.meta.config.merge(Config(response_checksum_validation="when_supported"))
        self.meta = SimpleNamespace(events=client.meta.events, config=config)
        self.create_multipart_upload = partial(_again, "write", client.create_multipart_upload)
        self.complete_multipart_upload = partial(_again, "write", client.complete_multipart_upload)
        self.abort_multipart_upload = partial(_again, "write", client.abort_multipart_upload)
        self.get_object = partial(_again, "read", client.get_object)

    def upload_part(self, Body: Any, **request: Any) -> Any:  # noqa: N803  (the name is boto3's)
        data = Body.read()  # its hash goes in a header: over https boto3 has it follow the body, which few servers know
        request["ChecksumSHA256"] = checksum(data)
        answer = _again("write", lambda **r: self._client.upload_part(Body=BytesIO(data), **r), **request)
        return {**answer, "ChecksumSHA256": request["ChecksumSHA256"]}


def _again(verb: str, call: Callable[..., Any], **request: Any) -> Any:
    return retry(f"cannot {verb} s3://{request['Bucket']}/{request['Key']}", lambda: call(**request))


class Known(BaseSubscriber):
    """Tells the manager what an object is like, so that all ranges are of this one and nothing has to be asked."""

    def __init__(self, size: int, stamp: str) -> None:
        self._size, self._stamp = size, stamp

    def on_queued(self, future: TransferFuture, **_: object) -> None:
        future.meta.provide_transfer_size(self._size)
        future.meta.provide_object_etag(self._stamp)


def checksum(data: bytes) -> str:
    """Return the SHA-256 of `data` as S3 wants it: base64."""
    return b64encode(hashlib.sha256(data).digest()).decode()


def stream(client: S3Client, request: GetObjectRequestTypeDef) -> Generator[bytes]:
    """Yield the answer to `request`."""
    with closing(client.get_object(**request)["Body"]) as body:
        yield from body.iter_chunks(BLOCK)


def read(client: S3Client, request: GetObjectRequestTypeDef, most: int | None) -> bytes:
    """Return the answer to `request`; if it is longer than `most` bytes, no more of it than shows that."""
    data = bytearray()
    with closing(stream(client, request)) as blocks:
        for block in blocks:
            data += block
            if most is not None and len(data) > most:
                break
    return bytes(data)


def read_range(client: S3Client, request: GetObjectRequestTypeDef, start: int, end: int) -> bytes:
    """Return the bytes of an object from `start` up to `end`, also of a server that sends all of it instead."""
    ranged: GetObjectRequestTypeDef = {**request, "Range": f"bytes={start}-{end - 1}"}
    answer = client.get_object(**ranged)
    ahead = 0 if answer.get("ContentRange") else start
    with closing(answer["Body"]) as body:
        return body.read(ahead + end - start)[ahead:]


def is_as_sent(part: Path, written: Written, kept: str | None) -> bool:
    """Tell whether a file has the checksum `kept` (base64 SHA-256) by the server; True if it keeps none.

    Servers keep it of the whole object, or of the digests of its parts with their number behind: `…-9`. Of parts in
    another size than ours nothing can be told.
    """
    if kept is None:
        return True
    digest, _, count = kept.partition("-")
    if not count:
        return b64decode(digest) == bytes.fromhex(written.sha256)
    step = ChunksizeAdjuster().adjust_chunksize(PART_SIZE, written.size)
    if int(count) != -(-written.size // step):
        return True
    parts = hashlib.sha256()
    with part.open("rb") as file:
        while one := file.read(step):
            parts.update(hashlib.sha256(one).digest())
    return b64decode(digest) == parts.digest()
