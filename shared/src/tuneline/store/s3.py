"""A store in an S3 bucket, on Amazon or any server that speaks its protocol.

Where the server is and who we are comes from the environment that boto3 reads: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
the role of a pod and so on. Each body is sent with its SHA-256, so that the server refuses what was damaged on the way;
some servers would store it otherwise. Each write carries a mark of its writer: it tells a lost race from a lost answer.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from botocore.exceptions import ClientError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from tuneline.errors import Changed, Temporary, UserError
from tuneline.store import s3_transfers, verify
from tuneline.store.base import Entry, FileRecord, check_key, in_parallel, key_problem, refuse_more
from tuneline.store.s3_client import TRIES, connect, reraise_unless, retry, whole_answers
from tuneline.store.verify import Written, plain_errors

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        GetObjectRequestTypeDef,
        HeadObjectOutputTypeDef,
        HeadObjectRequestTypeDef,
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
        PutObjectRequestTypeDef,
    )
    from s3transfer.manager import TransferManager

T = TypeVar("T")
_UPLOAD_ERRORS = (CancelledError, ClientError, OSError, Temporary, UserError)


class S3Store:
    """The store below `prefix` in `bucket`."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._client = connect(self.uri)
        self._keeps_apart = False

    @cached_property
    def _manager(self) -> TransferManager:
        return s3_transfers.manager(self._client)

    def get(self, key: str, most: int | None = None) -> bytes | None:
        try:
            request: GetObjectRequestTypeDef = {**self._request(key), "ChecksumMode": "ENABLED"}
            data = self._do("read", key, lambda: s3_transfers.read(self._client, request, most))
        except ClientError as error:
            reraise_unless(error, 404)
            return None
        refuse_more(len(data), most, f"{self.uri}/{key}")
        return data

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """The first time that a condition holds it is put to the test: some servers take none."""
        done = self._put(key, data, if_absent)
        if if_absent and not self._keeps_apart:
            if done and self._put(key, data, if_absent):
                problem = "the server overwrites a file that must stay (it ignores If-None-Match)"
                raise UserError(f"{self.uri}: {problem}. Use another server, or a newer version of it.")
            self._keeps_apart = True
        return done

    def _put(self, key: str, data: bytes, if_absent: bool = False) -> bool:
        writer = uuid4().hex
        request: PutObjectRequestTypeDef = {
            "Bucket": self.bucket,
            "Key": self._name(key),
            "ChecksumSHA256": s3_transfers.checksum(data),
            "Metadata": {"writer": writer},
        }
        if if_absent:
            request["IfNoneMatch"] = "*"

        def write() -> None:
            request["Body"] = BytesIO(data)  # leaves in blocks; all of the bytes would have to within one time-out
            self._client.put_object(**request)

        try:
            self._do("write", key, write)
        except ClientError as error:
            reraise_unless(error, 412)
            return self._was_written_by(writer, key)
        return True

    def list(self, prefix: str) -> Iterator[Entry]:
        """All is listed before the first entry is yielded, because servers differ in their order."""
        request: ListObjectsV2RequestTypeDef = {"Bucket": self.bucket, "Prefix": self._root + prefix}
        found: list[Entry] = []
        while True:
            page = self._do("list", prefix, lambda: self._client.list_objects_v2(**request))
            with whole_answers(self.uri):
                found += self._entries(page)
            if not page.get("IsTruncated"):
                break
            if page.get("NextContinuationToken") in (None, request.get("ContinuationToken")):
                problem = "the server lists no more than its first objects (it does not know ListObjectsV2)"
                raise UserError(f"{self.uri}: {problem}. Use another server, or a newer version of it.")
            request["ContinuationToken"] = page["NextContinuationToken"]
        yield from sorted(found)

    def _entries(self, page: ListObjectsV2OutputTypeDef) -> Iterator[Entry]:
        for item in page.get("Contents", ()):
            key = item["Key"].removeprefix(self._root)
            if not key or key.endswith("/"):
                continue  # an empty object that stands for a folder
            if problem := key_problem(key):
                raise UserError(f"{self.uri}: {problem}. Rename or remove this object.")
            yield Entry(key, item["Size"], item["LastModified"].timestamp(), item["ETag"])

    def upload(self, path: Path, key: str) -> FileRecord:
        with plain_errors(path):
            if path.stat().st_size > s3_transfers.PART_SIZE:
                return self._upload_parts(path, key)
            with path.open("rb") as file:
                data = b"".join(verify.unchanging_blocks(file, path, lambda: file.read(verify.BLOCK)))
        self._put(key, data)
        return FileRecord(key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    def download(self, record: FileRecord, dest: Path) -> None:
        source = f"{self.uri}/{record.key}"

        def copy(part: Path) -> Written:
            entry: Entry | None = Entry(record.key, record.size, 0, "")
            if record.size > s3_transfers.PART_SIZE:
                entry = self.head(record.key)  # the ETag, so that all ranges are of one object
            if entry is None:
                raise verify.lost(source, "is gone")
            return self._copy(entry, part) if entry.size == record.size else Written(entry.size, "")

        try:
            verify.save_verified(record, dest, copy, source)
        except ClientError as error:
            reraise_unless(error, 404)
            raise verify.lost(source, "is gone") from None
        except Changed:
            raise verify.lost(source, "was replaced while it was read") from None

    def delete(self, keys: Iterable[str]) -> None:
        def delete(key: str) -> None:
            self._do("delete", key, lambda: self._client.delete_object(Bucket=self.bucket, Key=self._name(key)))

        in_parallel(delete, keys)

    def local(self, record: FileRecord) -> None:
        return None

    def sweep(self, older_than: float) -> int:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._root)
        uploads = self._do("list", "", lambda: [one for page in pages for one in page.get("Uploads", ())])
        stale = [one for one in uploads if time.time() - one["Initiated"].timestamp() >= older_than]
        for one in stale:
            name, number = one["Key"], one["UploadId"]
            abort = partial(self._client.abort_multipart_upload, Bucket=self.bucket, Key=name, UploadId=number)
            with suppress(self._client.exceptions.NoSuchUpload):
                retry(f"cannot remove parts of s3://{self.bucket}/{name}", abort)
        return len(stale)

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object, or None if there is none."""
        found = self._head(key)
        with whole_answers(self.uri):
            return found and Entry(key, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])

    def fetch(self, entry: Entry, dest: Path) -> str:
        """Copy an object to `dest` as it was listed; return its SHA-256. Raises Changed if it is another one by now."""
        source = f"{self.uri}/{entry.key}"
        try:
            for _ in range(verify.COPIES):
                with verify.part_for(dest) as part:
                    written = self._copy(entry, part)
                    if written.size != entry.size:
                        continue
                    small = entry.size <= s3_transfers.PART_SIZE  # then boto3 has compared it
                    if small or s3_transfers.is_as_sent(part, written, self._checksum(entry)):
                        part.replace(dest)
                        return written.sha256
        except ClientError as error:
            reraise_unless(error, 404, 412)
            raise Changed(f"{source}: the object changed while it was read.") from None
        problem = "the object is damaged (its checksum is not the one it was written with)"
        if written.size != entry.size:
            often = "fewer" if written.size < entry.size else "more"
            problem = f"the server sends {often} than the {entry.size:,} bytes that it lists (does it pack or unpack?)"
        raise UserError(f"{source}: {problem}. Write it again.")

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from `start` up to `end`, which is left out."""
        request = self._request(key)
        return self._do("read", key, lambda: s3_transfers.read_range(self._client, request, start, end))

    def _do(self, verb: str, key: str, action: Callable[[], T]) -> T:
        return retry(f"cannot {verb} {self.uri}/{key}", action)

    def _name(self, key: str) -> str:
        return self._root + check_key(key)

    def _request(self, key: str) -> GetObjectRequestTypeDef:
        return {"Bucket": self.bucket, "Key": self._name(key)}

    def _copy(self, entry: Entry, part: Path) -> Written:
        """Write an object, as it was listed, to a new file; one that was not listed (no stamp) as it is."""
        if entry.size > s3_transfers.PART_SIZE:
            known = s3_transfers.Known(entry.size, entry.stamp)
            try:
                self._manager.download(self.bucket, self._name(entry.key), str(part), subscribers=[known]).result()
            except S3DownloadFailedError:
                raise Changed(f"{self.uri}/{entry.key}: the object changed while it was read.") from None
            except RetriesExceededError as error:
                problem = f"{type(error.last_exception).__name__}, {TRIES} times. Run the same command again."
                raise Temporary(f"cannot read {self.uri}/{entry.key}: {problem}") from error
            return verify.hash_file(part)
        request = self._request(entry.key)
        if entry.stamp:
            request |= {"IfMatch": entry.stamp, "ChecksumMode": "ENABLED"}  # who knows the hash need not compare

        def get() -> Written:
            return verify.write_new(part, s3_transfers.stream(self._client, request), limit=entry.size)

        return self._do("read", entry.key, get)

    def _checksum(self, entry: Entry) -> str | None:
        """Return the checksum that the server keeps of an object, as S3 writes it; ranges come without one."""
        request: HeadObjectRequestTypeDef = {**self._request(entry.key), "IfMatch": entry.stamp}
        request["ChecksumMode"] = "ENABLED"
        return self._do("read", entry.key, lambda: self._client.head_object(**request)).get("ChecksumSHA256")

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        try:
            return self._do("read", key, lambda: self._client.head_object(Bucket=self.bucket, Key=self._name(key)))
        except ClientError as error:
            reraise_unless(error, 404)
            return None

    def _was_written_by(self, writer: str, key: str) -> bool:
        """Tell whether what stands in our way is our own work: then only the server's answer had been lost."""
        found = self._head(key)
        return found is not None and found["Metadata"].get("writer") == writer

    def _upload_parts(self, path: Path, key: str) -> FileRecord:
        """Write a large object; if that fails, the manager leaves no parts behind."""
        writer, digest = uuid4().hex, hashlib.sha256()
        extra = {"Metadata": {"writer": writer}, "ChecksumAlgorithm": "SHA256"}
        with path.open("rb") as file:
            sent = self._manager.upload(str(path), self.bucket, self._name(key), extra)

            def read() -> bytes:
                block = file.read(verify.BLOCK)
                if not block:  # what changes until the last part has left counts, and explains most errors
                    with suppress(*_UPLOAD_ERRORS):
                        sent.result()
                return block

            try:
                for block in verify.unchanging_blocks(file, path, read):
                    digest.update(block)
            except Changed:
                sent.cancel()
                with suppress(*_UPLOAD_ERRORS):
                    sent.result()
                self.delete([key])
                raise
            try:
                sent.result()
            except ClientError as error:
                reraise_unless(error, 404)  # it is complete and the answer was lost, or somebody removed the upload
                if not self._was_written_by(writer, key):
                    problem = "the upload was aborted. Run the same command again."
                    raise Temporary(f"cannot write {self.uri}/{key}: {problem}") from error
            return FileRecord(key=key, sha256=digest.hexdigest(), size=file.tell())
