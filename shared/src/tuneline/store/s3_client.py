"""The connection to an S3 server, and what its errors mean for us."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)

from tuneline.stage import Temporary, UserError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

TRIES = 10
"""Tries of one request; the pauses between them add up to 14 to 29 seconds."""

# Retries are ours: boto3's own would hide whether a conditional write was sent twice. Checksums are ours too.
_CONFIG = Config(
    retries={"total_max_attempts": 1},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
)

_ON_THE_WAY = (HTTPClientError, ConnectionError, IncompleteReadError, ChecksumError, FlexibleChecksumError)
_DAMAGED = {"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired"}
_WAY_OUT = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the role), and what they may do in this bucket."


def connect(uri: str) -> S3Client:
    """Return a client for the server that the environment names. Nothing is sent yet."""
    try:
        session = boto3.session.Session()
        client = session.client("s3", config=_CONFIG)
        if "amazonaws.com" not in client.meta.endpoint_url:  # another server may not own a domain per bucket
            client = session.client("s3", config=_CONFIG.merge(Config(s3={"addressing_style": "path"})))
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"{uri}: {error}.") from error
    return client


def persist(what: str, action: Callable[[], T]) -> T:
    """Do `action` until the server answers; 404 and 412 are answers, and raised as they are. `what` opens each error.

    Raises UserError at once for what will not pass, and Temporary when it did not pass in TRIES tries.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(8.0, 0.1 * 2**attempt) * random.uniform(0.5, 1))
        try:
            return action()
        except (BotoCoreError, ClientError) as error:
            if status_of(error) in (404, 412) and _code(error) != "NoSuchBucket":
                raise
            if problem := _lasting_problem(error):
                raise UserError(f"{what}: {problem}") from error
            last = error
    raise Temporary(f"{what}: {_code(last)}, {TRIES} times. Run the same command again.") from last


def status_of(error: BotoCoreError | ClientError) -> int:
    """Return the HTTP status of the server's answer, 0 if there was none."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0


def none_if(error: ClientError, *statuses: int) -> None:
    """Return if the server answered with one of `statuses`, and raise `error` otherwise."""
    if status_of(error) not in statuses:
        raise error


def _code(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def _lasting_problem(error: BotoCoreError | ClientError) -> str | None:
    """Say what is wrong and the way out, or None if it may pass by itself."""
    code, status = _code(error), status_of(error)
    problem: str | None = f"the server refuses the request ({code})." if status else f"{error}."
    if isinstance(error, _ON_THE_WAY) or code in _DAMAGED or status in (408, 409, 429, 500, *range(502, 600)):
        problem = None
    elif isinstance(error, NoCredentialsError | PartialCredentialsError):
        problem = f"there are no credentials. {_WAY_OUT}"
    elif code == "NoSuchBucket":
        problem = "there is no such bucket. Create it, or correct the address."
    elif code in _EXPIRED:
        problem = f"the credentials have expired ({code}). Renew them and run the same command again."
    elif status in (401, 403):
        problem = f"access denied ({code}). {_WAY_OUT}"
    return problem
