"""Each test of the store runs on both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s3_proxy import Proxy, faulty_network
from s3_server import S3Server
from tuneline.store import Store, open_store


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("s3")) if request.param == "s3" else str(tmp_path / "the store")


@pytest.fixture
def store(uri: str) -> Store:
    return open_store(uri)


@pytest.fixture
def network(s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A network that can be told to fail; the environment's S3 server is behind it."""
    with faulty_network(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
