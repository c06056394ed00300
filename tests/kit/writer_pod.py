"""A scripted writer in a cluster, and what it was asked; `refuse` lets it fail for good, until `mend`.

with serve_writer_pod(cluster, folder) as writer:
    cluster.submit(writer.run_file("made"), "synthesize")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kit.clusters import SERVED, Cluster
from kit.generating import run_file
from kit.places import ROOT

HERE = ROOT / "tests/cluster"
FILES = [ROOT / f"tests/kit/{name}.py" for name in ("__init__", "scripted_openai", "generating")]


class Asked(NamedTuple):
    """A question about a row: when, with which seed, its hash, and whether it was answered."""

    at: float
    seed: int
    question: str
    answered: bool


class WriterPod:
    """The running server."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder

    def asked(self) -> list[Asked]:
        """What was asked so far, in order, by its log."""
        return [Asked(**json.loads(line)) for line in self._cluster.kubectl("logs", "writer").splitlines()]

    def refuse(self, seeds: Iterable[int]) -> None:
        """Call the key wrong of whoever asks with one of these seeds."""
        self._shell(f"echo {' '.join(map(str, seeds))} >/tmp/refused")

    def mend(self) -> None:
        self._shell("rm -f /tmp/refused")

    def run_file(
        self, run: str, inputs: Mapping[str, Any] | None = None, top: Mapping[str, Any] | None = None, **params: Any
    ) -> Path:
        """Write a run file for this writer, as in `kit.generating`; `top` are top-level keys."""
        file = run_file(self._folder / run, f"http://writer:{SERVED}/v1", inputs=inputs, **params)
        content = yaml.safe_load(file.read_text()) | {"run": run} | dict(top or {})
        content["inputs"]["writer"]["insecure_http"] = True
        file.write_text(yaml.safe_dump(content))
        return file

    def _shell(self, line: str) -> None:
        self._cluster.kubectl("exec", "writer", "--", "sh", "-c", line)


@contextmanager
def serve_writer_pod(cluster: Cluster, folder: Path) -> Iterator[WriterPod]:
    """Serve in the cluster, with the Python of the generator's image, and remove it afterwards."""
    cluster.kubectl(
        "create", "configmap", "writer", *(f"--from-file={path}" for path in (*FILES, HERE / "writer_server.py"))
    )
    text = (HERE / "writer.yaml").read_text().replace("localhost/tuneline/generator", cluster.image("generator"))
    try:
        cluster.kubectl("apply", "-f", "-", text=text)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/writer", "--timeout=120s")
        yield WriterPod(cluster, folder)
    finally:
        cluster.kubectl("delete", "pod/writer", "service/writer", "configmap/writer", "--now", check=False)
