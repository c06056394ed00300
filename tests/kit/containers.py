"""Docker as the tests use it: a network that leads nowhere with an S3 server in it, and containers without rights."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from kit.places import ROOT
from tuneline.engine.pipelines import plan
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.errors import Temporary, UserError
from tuneline.stage import installed_stages
from tuneline.store.base import Store, open_store

VERSION = tomllib.loads((ROOT / "shared/pyproject.toml").read_text())["project"]["version"]
DEMO = ROOT / "examples/demo.yaml"
NODES = tuple(node.name for node in plan(installed_stages(), {}))
STAGES = (
    *dict.fromkeys(node.partition("@")[0] for node in NODES),
    "generator",
    "transcriber",
    "calibrator",
    "publisher",
)
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Chain(NamedTuple):
    """The demonstration's results, and how long each container took, in seconds."""

    manifests: dict[str, Manifest]
    seconds: dict[str, float]


def image(stage: str) -> str:
    return f"localhost/tuneline/{stage}:{VERSION}"


def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def run_on_laptop(folder: Path) -> dict[str, Manifest]:
    """Run the demonstration on this machine, without containers and without S3; return its results."""
    program = Path(sys.executable).parent / "tuneline"
    subprocess.run([program, "run", DEMO, "--store", folder], check=True, capture_output=True)
    found = {node: pinned_manifest(open_store(str(folder)), "demo", node) for node in NODES}
    return {node: manifest for node, manifest in found.items() if manifest is not None}


def output_hashes(manifest: Manifest) -> dict[str, str]:
    """The SHA-256 of each output."""
    return {name: output.sha256 for name, output in manifest.outputs.items()}


def wait_code(name: str) -> int:
    """Wait for the end of a container and return its exit code."""
    return int(docker("wait", name).stdout)


class Site:
    """An internal network with an S3 server, which this machine reaches at `endpoint` and containers as `s3`."""

    def __init__(self, network: str, endpoint: str) -> None:
        self.network, self.endpoint = network, endpoint
        self._names: list[str] = []

    def store(self, prefix: str) -> Store:
        return open_store(f"s3://demo/{prefix}")

    def start(self, node: str, prefix: str, file: Path = DEMO) -> str:
        """Start a node of a run file in the background; return the container's name."""
        stage, _, variant = node.partition("@")
        words = ["run", "--file", f"/data/{file.parent.name}/{file.name}", "--store", f"s3://demo/{prefix}"]
        words += ["--variant", variant] if variant else []
        return self.start_any(stage, *words, options=("--volume", f"{file.parent}:/data/{file.parent.name}:ro"))

    def start_any(self, stage: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """Start an image as Kubernetes' restricted profile would: any user, no rights, two writable folders."""
        name = f"tuneline-test-{uuid4().hex[:12]}"
        user = random.randint(20_000, 60_000)
        env = {**KEYS, "AWS_ENDPOINT_URL": "http://s3:8333"}
        docker(
            *("run", "--detach", "--pull", "never", "--name", name, "--network", self.network),
            *("--user", f"{user}:{user}", "--read-only", "--tmpfs", "/tmp", "--mount", "type=volume,target=/scratch"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "6g"),
            *("--volume", f"{ROOT}/.cache:/data/.cache:ro"),
            *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
            *options, image(stage), *words,
        )  # fmt: skip
        self._names.append(name)
        return name

    def run(self, node: str, prefix: str, file: Path = DEMO) -> None:
        """Run a node to its end, which must be a good one."""
        name = self.start(node, prefix, file)
        code = wait_code(name)
        assert code == 0, self.logs(name)

    def logs(self, name: str) -> str:
        done = docker("logs", name)
        return done.stdout + done.stderr

    def manifest(self, node: str, prefix: str, run: str = "demo") -> Manifest:
        manifest = pinned_manifest(self.store(prefix), run, node)
        assert manifest is not None, node
        return manifest

    def remove_all(self) -> None:
        if self._names:
            docker("rm", "--force", "--volumes", *self._names, check=False)


@contextmanager
def serve_site() -> Iterator[Site]:
    """Build the network and the S3 server, and remove all of it afterwards."""
    mark = uuid4().hex[:12]
    network, server = f"tuneline-test-{mark}", f"tuneline-test-s3-{mark}"
    docker("network", "create", "--internal", network)
    made: Site | None = None
    try:
        # On the ordinary network too, so that this machine reaches its port; the stages are not on that one.
        docker(
            *("run", "--detach", "--pull", "never", "--name", server, "--publish", "127.0.0.1::8333"),
            *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--mount", "type=volume,target=/data"),
            *(word for key in KEYS for word in ("--env", f"{key}={KEYS[key]}")),
            *(image("s3"), "demo"),
        )  # fmt: skip
        docker("network", "connect", "--alias", "s3", network, server)
        made = Site(network, f"http://{docker('port', server, '8333').stdout.split()[0]}")
        os.environ.update({**KEYS, "AWS_ENDPOINT_URL": made.endpoint})
        _wait_until_ready(made)
        yield made
    finally:
        if made is not None:
            made.remove_all()
        docker("rm", "--force", "--volumes", server, check=False)
        docker("network", "rm", network, check=False)


def _wait_until_ready(made: Site) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(UserError, Temporary):
            made.store("ready").put("ready", b"")
            return
        time.sleep(0.5)
    raise TimeoutError("the S3 server is not ready")
