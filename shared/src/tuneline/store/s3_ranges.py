"""Downloads in ranges, for files that are too large for one connection."""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import FileIO
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING

from botocore.exceptions import IncompleteReadError

from tuneline.store import s3_parts
from tuneline.store.base import TRANSFERS
from tuneline.store.s3_client import retry
from tuneline.store.verify import BLOCK, Written

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef


def stream(client: S3Client, request: GetObjectRequestTypeDef, size: int | None = None) -> Iterator[bytes]:
    """Yield the answer to `request`, which must have `size` bytes (any number, if that is None)."""
    answer = client.get_object(**request)
    with closing(answer["Body"]) as body:
        if size not in (None, answer["ContentLength"]):
            raise IncompleteReadError(actual_bytes=answer["ContentLength"], expected_bytes=size)
        yield from body.iter_chunks(BLOCK)


def copy(
    client: S3Client, request: GetObjectRequestTypeDef, size: int, part: Path, slots: Semaphore, what: str
) -> Written:
    """Write the object of `size` bytes that `request` names (with IfMatch: all of one version) to a new file.

    The hash follows the ranges in their order: what it reads has just been written and is still in the page cache.
    """
    step = s3_parts.PART_SIZE

    def copy_range(start: int) -> None:
        end = min(start + step, size)
        ranged: GetObjectRequestTypeDef = {**request, "Range": f"bytes={start}-{end - 1}"}

        def get() -> None:
            with part.open("r+b") as file:
                file.seek(start)
                file.writelines(stream(client, ranged, end - start))

        with slots:
            retry(what, get)

    digest = hashlib.sha256()
    with part.open("xb+", buffering=0) as file, ThreadPoolExecutor(TRANSFERS) as pool:
        starts = range(0, size, step)
        for start, _ in zip(starts, pool.map(copy_range, starts), strict=True):
            for block in _blocks(file, start, min(start + step, size)):
                digest.update(block)
    return Written(size, digest.hexdigest())


def is_as_sent(part: Path, written: Written, checksum: str | None) -> bool:
    """Tell whether a file has the `checksum` (base64 SHA-256) that the server keeps of it; True if it keeps none.

    Servers keep it of the whole object, or of the digests of its parts with their number behind: `…-9`. Of parts in
    another size than ours nothing can be told.
    """
    if checksum is None:
        return True
    digest, _, count = checksum.partition("-")
    if not count:
        return b64decode(digest) == bytes.fromhex(written.sha256)
    step = s3_parts.part_size(written.size)
    if int(count) != -(-written.size // step):
        return True
    parts = hashlib.sha256()
    with part.open("rb", buffering=0) as file:
        for start in range(0, written.size, step):
            one = hashlib.sha256()
            for block in _blocks(file, start, min(start + step, written.size)):
                one.update(block)
            parts.update(one.digest())
    return b64decode(digest) == parts.digest()


def _blocks(file: FileIO, start: int, end: int) -> Iterator[bytes]:
    """Yield what a file holds from `start` to `end`; its position stays where it is."""
    for at in range(start, end, BLOCK):
        yield os.pread(file.fileno(), min(BLOCK, end - at), at)
