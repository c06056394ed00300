"""The connection to an S3 server, and what its errors mean for us."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import urlsplit

import boto3
import structlog
from botocore import exceptions as boto
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError
from botocore.parsers import ResponseParserError

from tuneline.errors import Temporary, UserError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
Problem: TypeAlias = BotoCoreError | ClientError | ResponseParserError

TRIES = 30
"""Tries of one request; the pauses between them add up to one or two minutes, as long as throttling or a restart takes.

A server that refuses 60 % of all requests is hardly noticed so. One that refuses 90 % still answers most of them in
time; what ends with Temporary nevertheless goes on from there when the same command is run again.
"""
FIRST_TRIES = 3
"""Tries to reach a server that has not answered this process yet: most likely its address is wrong."""
WARN_TRIES = 10
"""Tries after which the log says so; about twenty seconds have passed then."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries at most."""
CONNECT_TIMEOUT, READ_TIMEOUT = 6.0, 60.0
"""Seconds after which a connection that is not made, or brings nothing, counts as lost.

urllib3 gives the first to each block that is sent, too: a shorter one would end uploads over a slow line.
"""

_has_answered = threading.Event()

log = structlog.get_logger()

# Retries are ours: boto3's own would hide whether a conditional write was sent twice. Checksums are ours too.
_CONFIG = Config(
    retries={"total_max_attempts": 1},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    max_pool_connections=32,
)

_ON_THE_WAY = (
    boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, boto.ChecksumError,
    boto.FlexibleChecksumError, ResponseParserError,
)  # fmt: skip
_MAY_BE_ABSENT = {"GetObject", "HeadObject", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}
_DAMAGED = {"BadDigest", "IncompleteBody", "InvalidPart", "MalformedXML", "RequestTimeout", "XAmzContentSHA256Mismatch"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired"}
_WAY_OUT = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the role), and what they may do in this bucket."


def connect(uri: str) -> S3Client:
    """Return a client for the server that the environment names. Nothing is sent yet."""
    try:
        session = boto3.session.Session()
        config = _CONFIG.merge(Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT))
        client = session.client("s3", config=config)
        there = client.meta.endpoint_url
        if "amazonaws.com" not in there:  # another server may not own a domain per bucket
            config = config.merge(Config(s3={"addressing_style": "path"}))
            # A proxy from the environment must not swallow what is for this machine.
            config = config.merge(Config(proxies={})) if _is_here(there) else config
            client = session.client("s3", config=config)
            client.meta.events.register_first("needs-retry.s3", partial(_refuse_to_follow, uri))
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"{uri}: {error}.") from error
    return client


def _is_here(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _refuse_to_follow(uri: str, response: tuple[AWSResponse, object] | None, **_: object) -> None:
    """Raise UserError where a server leads elsewhere: boto3 takes that for a region, and asks without end which one."""
    if response is None or response[0].status_code not in (301, 302, 307, 308):
        return
    there = urlsplit(response[0].headers.get("Location", ""))
    address = ascii(f"{there.scheme}://{there.netloc}")
    to = f" to {address}" if there.netloc else ""
    raise UserError(
        f"{uri}: the server leads elsewhere (HTTP {response[0].status_code}{to}). Correct AWS_ENDPOINT_URL."
    )


@contextmanager
def whole_answers(uri: str) -> Iterator[None]:
    """Turn what an answer lacks, which every S3 server says, into a sentence."""
    try:
        yield
    except KeyError as missing:
        problem = f"the server does not say the {missing.args[0]} of an object"
        raise UserError(f"{uri}: {problem}. Use another server, or a newer version of it.") from None


def retry(what: str, action: Callable[[], T]) -> T:
    """Do `action` until the server answers; 404 and 412 are answers, and raised as they are. `what` opens each error.

    Raises UserError at once for what will not pass, and Temporary when it did not pass in TRIES tries (FIRST_TRIES, if
    no server has answered yet).
    """
    tries = 0
    while True:
        tries += 1
        try:
            result = action()
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if _is_answer(error):
                raise
            if problem := _lasting_problem(error):
                raise UserError(f"{what}: {problem}") from error
            if tries >= _tries_for(error):
                raise Temporary(f"{what}: {_passing_problem(error, tries)}") from error
            if tries == WARN_TRIES:
                log.warning("the store does not answer", request=what, cause=_code(error), tries=tries)
            time.sleep(min(LONGEST_PAUSE, 0.1 * 2**tries) * random.uniform(0.5, 1))
        else:
            _has_answered.set()
            return result


def _tries_for(error: Problem) -> int:
    if _has_answered.is_set() or not _is_nobody(error):
        return TRIES
    return 1 if isinstance(error, ConnectTimeoutError) else FIRST_TRIES  # the kernel itself knocked several times


def status_of(error: Problem) -> int:
    """Return the HTTP status of the server's answer, 0 if there was none."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 0


def reraise_unless(error: ClientError, *statuses: int) -> None:
    """Return if the server answered with one of `statuses`, and raise `error` otherwise."""
    if status_of(error) not in statuses:
        raise error


def _code(error: Problem) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def _one_line(error: Problem) -> str:
    return " ".join(str(error).split()).removesuffix(".")


def _is_answer(error: Problem) -> bool:
    """Tell whether this is what we asked for: that something is absent (404) or not as it was (412)."""
    if not isinstance(error, ClientError):
        return False
    if not _is_nobody(error):
        _has_answered.set()
    status = status_of(error)
    return status == 412 or (
        status == 404 and error.operation_name in _MAY_BE_ABSENT and _code(error) != "NoSuchBucket"
    )


def _is_nobody(error: Problem) -> bool:
    """Tell whether no server answers, or something that is no S3 server: its errors (5xx) have no code of S3's."""
    if isinstance(error, ClientError):  # botocore makes a 500 of an answer that it cannot read; HEAD never has a code
        return status_of(error) >= 500 and _code(error).isdigit() and error.operation_name != "HeadObject"
    return isinstance(error, boto.ConnectionError | boto.ReadTimeoutError | ResponseParserError)


def _lasting_problem(error: Problem) -> str | None:
    """Say what is wrong and the way out, or None if it may pass by itself."""
    code, status = _code(error), status_of(error)
    problem: str | None = f"the server refuses the request ({code})." if status else f"{_one_line(error)}."
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        problem = f"{_one_line(error)}. Name a file with the certificate of its authority in AWS_CA_BUNDLE."
    elif isinstance(error, _ON_THE_WAY) or code in _DAMAGED or status in (408, 409, 429, 500, *range(502, 600)):
        problem = None
    elif isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        problem = f"no credentials were found. {_WAY_OUT}"
    elif code == "NoSuchBucket":
        problem = "there is no such bucket. Create it, or correct the address."
    elif code in _EXPIRED:
        problem = f"the credentials have expired ({code}). Renew them and run the same command again."
    elif status in (401, 403) or code == "400":  # a HEAD has no body that would say more
        problem = f"access denied ({code}). {_WAY_OUT}"
    elif status == 501:
        problem = (
            f"the server cannot do what a store needs ({code}): conditional writes (If-None-Match) and SHA-256 "
            "checksums. Use another server, or a newer version of it."
        )
    elif status in (404, 405):
        problem = f"this is not an S3 server ({code}). Check AWS_ENDPOINT_URL."
    return problem


def _passing_problem(error: Problem, tries: int) -> str:
    """Say what happened at each try, and the way out."""
    often = "once" if tries == 1 else f"{tries} times"
    if not _is_nobody(error):
        return f"{_code(error)}, {often}. Run the same command again."
    unreadable = isinstance(error, ClientError | ResponseParserError)
    cause = "the answer is not one of an S3 server" if unreadable else _one_line(error)
    return f"{cause}, {often}. Check AWS_ENDPOINT_URL and the network, then run the same command again."
