"""Uploads in parts, for files that are too large to be held in memory."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from tuneline.store import TRANSFERS
from tuneline.store.s3_client import none_if, persist

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_SIZE = 8 << 20
"""Bytes of a part; a file up to this size is copied whole. Above 75 GB parts are larger: S3 takes 10,000 at most."""


def checksum(data: bytes) -> str:
    """Return the SHA-256 of `data` as S3 wants it: base64."""
    return b64encode(hashlib.sha256(data).digest()).decode()


class Upload(NamedTuple):
    """One object that is being written in parts; `what` opens each error."""

    client: S3Client
    bucket: str
    name: str
    id: str
    what: str


def start(client: S3Client, bucket: str, name: str, writer: str, what: str) -> Upload:
    """Begin an object; `writer` becomes the mark in its metadata."""

    def create() -> str:
        return client.create_multipart_upload(
            Bucket=bucket, Key=name, ChecksumAlgorithm="SHA256", Metadata={"writer": writer}
        )["UploadId"]

    return Upload(client, bucket, name, persist(what, create), what)


def part_size(size: int) -> int:
    """Return the bytes of a part of a file of `size` bytes."""
    return max(PART_SIZE, size // 9_000)


def send(upload: Upload, blocks: Iterator[bytes], count: int, slots: Semaphore) -> None:
    """Send the `count` blocks and make one object of them. Raises ClientError 404 if the upload is gone or complete.

    A block is read when it has a slot, and is in memory no longer.
    """
    numbered, turn = enumerate(blocks, 1), Lock()

    def send_next(_: int) -> CompletedPartTypeDef | None:
        with slots:
            with turn:
                following = next(numbered, None)
            return following and _send_one(upload, *following)

    with ThreadPoolExecutor(TRANSFERS) as pool:
        parts = [part for part in pool.map(send_next, range(count)) if part]
    next(numbered, None)  # there is no further one; at the end `blocks` may say that something is wrong with them
    parts.sort(key=lambda part: part["PartNumber"])
    client, bucket, name, upload_id, what = upload
    persist(
        what,
        lambda: client.complete_multipart_upload(
            Bucket=bucket, Key=name, UploadId=upload_id, MultipartUpload={"Parts": parts}
        ),
    )


def abort(upload: Upload) -> None:
    """Remove the parts; fine if they are gone."""
    client, bucket, name, upload_id, what = upload
    try:
        persist(what, lambda: client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id))
    except ClientError as error:
        none_if(error, 404)


def _send_one(upload: Upload, number: int, block: bytes) -> CompletedPartTypeDef:
    client, bucket, name, upload_id, what = upload
    digest = checksum(block)

    def put() -> str:
        return client.upload_part(
            Bucket=bucket, Key=name, UploadId=upload_id, PartNumber=number, Body=block, ChecksumSHA256=digest
        )["ETag"]

    return {"PartNumber": number, "ETag": persist(what, put), "ChecksumSHA256": digest}
