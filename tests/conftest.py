"""Fixtures that several test folders use."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

from kit.images import as_in_image
from kit.places import EXAMPLES
from kit.s3_proxy import Proxy, faulty_network
from kit.s3_server import S3Server, serve_s3
from tuneline.store.base import Store, open_store

settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")  # no test depends on how busy the machine is, or on chance


LONGEST_ID = 80


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name no test by megabytes, nor by what is different in each process."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


@pytest.fixture(scope="session", autouse=True)
def modules_of_images() -> Iterator[None]:
    """A stage that a test starts by its own command has what its image has, and nothing else that is installed here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in as_in_image().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """What a command configures in this process does not outlive its test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the session."""
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store on the S3 server, which the environment names."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid4().hex}"


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store of either kind."""
    return str(request.getfixturevalue("s3")) if request.param == "s3" else str(tmp_path / "the store")


@pytest.fixture
def store(uri: str) -> Store:
    """An empty store of either kind."""
    return open_store(uri)


@pytest.fixture
def network(s3_server: S3Server, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A network that can be told to fail; the environment's S3 server is behind it."""
    with faulty_network(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma-2 with random weights, made by examples/tiny_base.py; kept for all workers and later sessions."""
    dest = tmp_path_factory.getbasetemp().parent / "tiny-base"
    subprocess.run([sys.executable, EXAMPLES / "tiny_base.py", dest, "--steps", "0"], check=True, capture_output=True)
    return dest


@pytest.fixture(scope="session")
def tiny_gguf(tiny_base: Path) -> Path:
    """The tiny base model as a GGUF file, which nothing may change."""
    from kit.gguf_models import convert_tiny

    return convert_tiny(tiny_base)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many faults were injected, of which kinds: each test notes its own, in whichever process it runs."""
    faults: Counter[str] = Counter()
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        if isinstance(report, pytest.TestReport) and report.when == "teardown":
            for name, value in report.user_properties:
                if name == "faults" and isinstance(value, dict):
                    faults.update(value)
    if faults:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in faults.most_common())
        terminalreporter.write_line(f"{faults.total()} faults injected: {kinds}")
