"""What the tests of the images share: the laptop's run to compare with, and a site to run containers on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import DEMO, NODES, Chain, Site, serve_site
from tuneline.manifest import Manifest, pinned_manifest
from tuneline.store import open_store


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The demonstration's results on this machine, without containers and without S3."""
    store = tmp_path_factory.mktemp("laptop") / "store"
    program = Path(sys.executable).parent / "tuneline"
    subprocess.run([program, "run", DEMO, "--store", store], check=True, capture_output=True)
    found = {node: pinned_manifest(open_store(str(store)), "demo", node) for node in NODES}
    return {node: manifest for node, manifest in found.items() if manifest is not None}


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
