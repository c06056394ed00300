"""What the tests of the images share: the laptop's run to compare with, and a site to run containers on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kit.containers import NODES, Chain, Site, run_on_laptop, serve_site
from tuneline.engine.records import Manifest


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The demonstration's results on this machine."""
    return run_on_laptop(tmp_path_factory.mktemp("laptop") / "store")


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """An S3 server in a network that leads nowhere else."""
    with serve_site() as made:
        yield made


@pytest.fixture(scope="session")
def chain(site: Site) -> Chain:
    """The demonstration, one container after the other."""
    seconds = {}
    for node in NODES:
        start = time.monotonic()
        site.run(node, "chain")
        seconds[node] = time.monotonic() - start
    return Chain({node: site.manifest(node, "chain") for node in NODES}, seconds)
