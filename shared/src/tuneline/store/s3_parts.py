"""Uploads in parts, for files that are too large to be held in memory."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from tuneline.store.s3_client import none_if, persist

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_SIZE = 16 << 20
"""Bytes of a part; a file up to this size is sent whole. Above 150 GB parts are larger: S3 takes 10,000 at most."""
TRANSFERS = 4
"""Parts of one file on their way at once; with PART_SIZE this bounds the memory of an upload."""


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


def send(upload: Upload, blocks: Iterator[bytes]) -> None:
    """Send all blocks and make one object of them. Raises ClientError 404 if the upload is gone or complete."""
    parts: list[CompletedPartTypeDef] = []
    pending: deque[Future[CompletedPartTypeDef]] = deque()
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for number, block in enumerate(blocks, 1):
            if len(pending) == TRANSFERS:
                parts.append(pending.popleft().result())
            pending.append(pool.submit(_send_one, upload, number, block))
        parts += [one.result() for one in pending]
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
