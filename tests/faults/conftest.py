"""A faulty network in front of the S3 server; every fault that a test asks for must happen, and is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.fault_parts import Place
from kit.s3_proxy import Proxy, faulty_network
from kit.s3_server import S3Server


@pytest.fixture
def place(s3_server: S3Server, s3: str, tmp_path: Path) -> Place:
    """A store that nothing stands before, as far as the test itself is concerned."""
    return Place(tmp_path, s3, s3_server.endpoint)


@pytest.fixture
def watched(
    s3_server: S3Server, place: Place, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Proxy]:
    """The network between the S3 server and the processes that the test starts: it sees their requests.

    What happened is noted for the summary at the end; where the network does nothing, the test's own fault counts.
    """
    with faulty_network(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
    faults = {str(kind): count for kind, count in proxy.hits.items()} or {"wrong address or key": 1}
    request.node.user_properties.append(("faults", faults))


@pytest.fixture
def network(watched: Proxy) -> Iterator[Proxy]:
    """The same network with faults: each one that a test plans must happen."""
    yield watched
    assert watched.hits, "no fault happened"
    assert watched.unmet == []
