"""A store in an S3 bucket, on Amazon or any server that speaks its protocol.

Where the server is and who we are comes from the environment that boto3 reads: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
the role of a pod and so on. Each body is sent with its SHA-256, so that the server refuses what was damaged on the way;
some servers would store it otherwise. Each write carries a mark of its writer: it tells a lost race from a lost answer.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import uuid4

from botocore.exceptions import ClientError

from tuneline.errors import Changed, Temporary, UserError
from tuneline.store import s3_parts, s3_ranges
from tuneline.store.base import TRANSFERS, Entry, FileRecord, check_key, in_parallel, key_problem
from tuneline.store.s3_client import connect, reraise_unless, retry, status_of
from tuneline.store.s3_parts import Part
from tuneline.store.verify import (
    COPIES,
    Written,
    lost,
    part_for,
    plain_errors,
    save_verified,
    unchanging_blocks,
    write_new,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        GetObjectRequestTypeDef,
        HeadObjectOutputTypeDef,
        HeadObjectRequestTypeDef,
        ListObjectsV2RequestTypeDef,
        PutObjectRequestTypeDef,
    )

T = TypeVar("T")


class S3Store:
    """The store below `prefix` in `bucket`."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._client = connect(self.uri)
        self._slots = Semaphore(TRANSFERS)
        self._keeps_apart = False

    def get(self, key: str) -> bytes | None:
        """See `Store`."""
        try:
            request: GetObjectRequestTypeDef = {**self._request(key), "ChecksumMode": "ENABLED"}
            return self._do("read", key, lambda: b"".join(s3_ranges.stream(self._client, request)))
        except ClientError as error:
            reraise_unless(error, 404)
            return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """See `Store`. The first time that a condition holds it is put to the test: some servers take none."""
        done = self._put(key, data, if_absent)
        if if_absent and not self._keeps_apart:
            if done and self._put(key, data, if_absent):
                problem = "the server overwrites a file that must not be (it ignores If-None-Match)"
                raise UserError(f"{self.uri}: {problem}. Use another server, or a newer version of it.")
            self._keeps_apart = True
        return done

    def _put(self, key: str, data: bytes | Part, if_absent: bool = False) -> bool:
        writer = uuid4().hex
        request: PutObjectRequestTypeDef = {
            "Bucket": self.bucket,
            "Key": self._name(key),
            "Body": cast("bytes", data),  # boto3 takes all that can be read and rewound
            "ChecksumSHA256": s3_parts.checksum(data),
            "Metadata": {"writer": writer},
        }
        if if_absent:
            request["IfNoneMatch"] = "*"

        def write() -> None:
            if isinstance(data, Part):
                data.seek(0)
            self._client.put_object(**request)

        try:
            self._do("write", key, write)
        except ClientError as error:
            reraise_unless(error, 412)
            return self._was_written_by(writer, key)
        return True

    def list(self, prefix: str) -> Iterator[Entry]:
        """See `Store`. All is listed before the first entry is yielded, because servers differ in their order."""
        request: ListObjectsV2RequestTypeDef = {"Bucket": self.bucket, "Prefix": self._root + prefix}
        found: list[Entry] = []
        while True:
            page = self._do("list", prefix, lambda: self._client.list_objects_v2(**request))
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self._root)
                if not key or key.endswith("/"):
                    continue  # an empty object that stands for a folder
                if problem := key_problem(key):
                    raise UserError(f"{self.uri}: {problem}. Rename or remove this object.")
                found.append(Entry(key, item["Size"], item["LastModified"].timestamp(), item["ETag"]))
            if not page.get("IsTruncated"):
                break
            request["ContinuationToken"] = page["NextContinuationToken"]
        yield from sorted(found)

    def upload(self, path: Path, key: str) -> FileRecord:
        """See `Store`."""
        digest = hashlib.sha256()
        with plain_errors(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            part_size = s3_parts.part_size(size)

            def parts() -> Iterator[Part]:
                for part in unchanging_blocks(file, path, lambda: s3_parts.read_part(file, part_size)):
                    digest.update(part)
                    yield part

            if size > part_size:
                self._put_parts(key, parts(), -(-size // part_size))
            else:
                with self._slots:
                    whole = [*parts()]  # one part, or none of an empty file
                    self._put(key, whole[0] if whole else b"")
        return FileRecord(key=key, sha256=digest.hexdigest(), size=size)

    def download(self, record: FileRecord, dest: Path) -> None:
        """See `Store`."""
        source = f"{self.uri}/{record.key}"

        def copy(part: Path) -> Written:
            entry: Entry | None = Entry(record.key, record.size, 0, "")
            if record.size > s3_parts.PART_SIZE:
                entry = self.head(record.key)  # the ETag, so that all ranges are of one object
            if entry is None:
                raise lost(source, "is gone")
            return self._copy(entry, part) if entry.size == record.size else Written(entry.size, "")

        try:
            save_verified(record, dest, copy, source)
        except ClientError as error:
            reraise_unless(error, 404, 412)
            raise lost(source, "is gone" if status_of(error) == 404 else "was replaced while it was read") from None

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""

        def delete(key: str) -> None:
            self._do("delete", key, lambda: self._client.delete_object(Bucket=self.bucket, Key=self._name(key)))

        in_parallel(delete, keys)

    def local(self, record: FileRecord) -> None:
        """See `Store`."""

    def sweep(self, older_than: float) -> int:
        """See `Store`."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._root)
        uploads = self._do("list", "", lambda: [one for page in pages for one in page.get("Uploads", ())])
        stale = [one for one in uploads if time.time() - one["Initiated"].timestamp() >= older_than]
        for one in stale:
            s3_parts.abort(s3_parts.Upload(self._client, self.bucket, one["Key"], one["UploadId"], self.uri))
        return len(stale)

    def head(self, key: str) -> Entry | None:
        """Return the entry of one object, or None if there is none."""
        found = self._head(key)
        return found and Entry(key, found["ContentLength"], found["LastModified"].timestamp(), found["ETag"])

    def fetch(self, entry: Entry, dest: Path) -> str:
        """Copy an object to `dest` as it was listed; return its SHA-256. Raises Changed if it is another one by now."""
        source = f"{self.uri}/{entry.key}"
        try:
            for _ in range(COPIES):
                with part_for(dest) as part:
                    written = self._copy(entry, part)
                    if entry.size <= s3_parts.PART_SIZE or s3_ranges.is_as_sent(part, written, self._checksum(entry)):
                        part.replace(dest)
                        return written.sha256
        except ClientError as error:
            reraise_unless(error, 404, 412)
            raise Changed(f"{source}: the object changed while it was read.") from None
        raise UserError(
            f"{source}: the object is damaged (it has not the checksum it was written with). Write it again."
        )

    def _do(self, verb: str, key: str, action: Callable[[], T]) -> T:
        return retry(f"cannot {verb} {self.uri}/{key}", action)

    def _name(self, key: str) -> str:
        return self._root + check_key(key)

    def _request(self, key: str) -> GetObjectRequestTypeDef:
        return {"Bucket": self.bucket, "Key": self._name(key)}

    def _copy(self, entry: Entry, part: Path) -> Written:
        """Write an object, as it was listed, to a new file; one that was not listed (no stamp) as it is."""
        request = self._request(entry.key)
        if entry.stamp:
            request["IfMatch"] = entry.stamp
        if entry.size > s3_parts.PART_SIZE:
            what = f"cannot read {self.uri}/{entry.key}"
            return s3_ranges.copy(self._client, request, entry.size, part, self._slots, what)
        if entry.stamp:
            request["ChecksumMode"] = "ENABLED"  # boto3 compares at the end; who knows the hash need not

        def get() -> Written:
            return write_new(part, s3_ranges.stream(self._client, request), limit=entry.size)

        with self._slots:
            return self._do("read", entry.key, get)

    def _checksum(self, entry: Entry) -> str | None:
        """Return the checksum that the server keeps of an object, as S3 writes it; ranges come without one."""
        request: HeadObjectRequestTypeDef = {
            **self._request(entry.key),
            "IfMatch": entry.stamp,
            "ChecksumMode": "ENABLED",
        }
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

    def _put_parts(self, key: str, parts: Iterator[Part], count: int) -> None:
        """Write a large object; if that fails, leave no parts behind."""
        writer, done = uuid4().hex, False
        what = f"cannot write {self.uri}/{key}"
        upload = s3_parts.start(self._client, self.bucket, self._name(key), writer, what)
        try:
            s3_parts.send(upload, parts, count, self._slots)
            done = True
        except ClientError as error:
            reraise_unless(error, 404)  # no such upload: it is complete and the answer was lost, or somebody removed it
            done = self._was_written_by(writer, key)
            if not done:
                raise Temporary(f"{what}: the upload was aborted. Run the same command again.") from error
        finally:
            if not done:
                s3_parts.abort(upload)
