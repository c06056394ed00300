"""What the tests on a cluster share: the installed chart, the demonstration's run on it, and the laptop's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.clusters import Cluster, serve_cluster
from kit.containers import run_on_laptop
from tuneline.engine.records import Manifest


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The demonstration's results on this machine."""
    return run_on_laptop(tmp_path_factory.mktemp("laptop") / "store")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace with the chart installed."""
    with serve_cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.helm("install", "store")
        yield made


@pytest.fixture(scope="session")
def demo(cluster: Cluster) -> str:
    """The demonstration's workflow, which succeeded."""
    name = cluster.submit(cluster.upload("store"))
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    return name
