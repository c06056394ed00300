"""The development S3 server answers nobody without a key, on any of its ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kit.places import ROOT
from tuneline.commands.check import check_store
from tuneline.errors import Temporary, UserError
from tuneline.store.base import open_store

SERVE = [sys.executable, str(ROOT / "images" / "s3" / "serve.py"), "bucket"]
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret", "AWS_DEFAULT_REGION": "us-east-1"}
OUTSIDE = "127.0.0.2"
"""Stands for the pod's address: what listens on 127.0.0.1 alone is not there."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind((OUTSIDE, 0))
        return int(one.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | KEYS | {"S3_DATA": str(tmp_path), "PATH": path}
    with subprocess.Popen([*SERVE, OUTSIDE, str(port)], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        yield psutil.Process(process.pid), f"http://{OUTSIDE}:{port}"
        process.terminate()
        assert process.wait(30) is not None


def ready(store_uri: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            return check_store(open_store(store_uri))
        except (UserError, Temporary):
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.xdist_group("s3 image")
def test_only_the_port_that_asks_for_keys_can_be_reached(
    server: tuple[psutil.Process, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, endpoint = server
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
    ready("s3://bucket/prefix")
    listening = [c.laddr for p in (process, *process.children()) for c in p.net_connections() if c.status == "LISTEN"]
    assert len(listening) > 3
    assert [f"http://{at.ip}:{at.port}" for at in listening if at.ip != "127.0.0.1"] == [endpoint]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(UserError, match="s3://bucket"):
        check_store(open_store("s3://bucket/prefix"))


def test_without_keys_it_does_not_start() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(SERVE, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "AWS_ACCESS_KEY_ID" in done.stderr
