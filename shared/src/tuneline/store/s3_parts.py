"""Uploads in parts, for files that are too large to be held in memory."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, NamedTuple, cast

from botocore.exceptions import ClientError

from tuneline.store.base import TRANSFERS
from tuneline.store.s3_client import reraise_unless, retry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_SIZE = 8 << 20
"""Bytes of a part; a file up to this size is copied whole. With TRANSFERS it bounds the memory of uploads: 128 MiB.

Files above 75 GB have larger parts, because S3 takes 10,000 at most.
"""


SEND_SIZE = 16 << 10
"""Bytes that must leave within the time-out of making a connection: urllib3 has no other one for sending."""


class Part(mmap):
    """A part in memory that the system has back as soon as it is closed.

    What malloc gives stays with the thread that asked: hundreds of megabytes, if many threads read many files.
    """

    def read(self, n: int | None = None) -> bytes:
        """Return the next bytes, at most SEND_SIZE, so that a slow line has time for them."""
        return super().read(SEND_SIZE if n is None or n < 0 else min(n, SEND_SIZE))


def read_part(file: BufferedReader, size: int) -> Part | None:
    """Return the next `size` bytes of a file, fewer at its end, None behind it."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    if left <= 0:
        return None
    part = Part(-1, min(size, left), flags=MAP_PRIVATE | MAP_ANONYMOUS)
    file.readinto(part)
    return part


def checksum(data: bytes | Part) -> str:
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

    return Upload(client, bucket, name, retry(what, create), what)


def part_size(size: int) -> int:
    """Return the bytes of a part of a file of `size` bytes."""
    return max(PART_SIZE, size // 9_000)


def send(upload: Upload, parts: Iterator[Part], count: int, slots: Semaphore) -> None:
    """Send the `count` parts and make one object of them. Raises ClientError 404 if the upload is gone or complete.

    A part is in memory only while it has a slot; then it is closed.
    """
    numbered, turn = enumerate(parts, 1), Lock()

    def send_next(_: int) -> CompletedPartTypeDef | None:
        with slots:
            with turn:
                number, part = next(numbered, (0, None))
            if part is None:
                return None
            with part:
                return _send_one(upload, number, part)

    with ThreadPoolExecutor(TRANSFERS) as pool:
        sent = [part for part in pool.map(send_next, range(count)) if part]
    next(numbered, None)  # there is no further one, but at the end `parts` may say that something is wrong with them
    sent.sort(key=lambda part: part["PartNumber"])
    client, bucket, name, upload_id, what = upload
    retry(
        what,
        lambda: client.complete_multipart_upload(
            Bucket=bucket, Key=name, UploadId=upload_id, MultipartUpload={"Parts": sent}
        ),
    )


def abort(upload: Upload) -> None:
    """Remove the parts; fine if they are gone."""
    client, bucket, name, upload_id, what = upload
    try:
        retry(what, lambda: client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload_id))
    except ClientError as error:
        reraise_unless(error, 404)


def _send_one(upload: Upload, number: int, part: Part) -> CompletedPartTypeDef:
    client, bucket, name, upload_id, what = upload
    digest = checksum(part)

    def put() -> str:
        part.seek(0)
        body = cast("bytes", part)  # boto3 takes all that can be read and rewound
        return client.upload_part(
            Bucket=bucket, Key=name, UploadId=upload_id, PartNumber=number, Body=body, ChecksumSHA256=digest
        )["ETag"]

    return {"PartNumber": number, "ETag": retry(what, put), "ChecksumSHA256": digest}
