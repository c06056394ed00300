"""A cluster as the tests use it: a namespace of their own with a development S3 server, and the programs of a user."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from kit.containers import DEMO, KEYS, NODES, STAGES, VERSION, docker, image
from kit.places import ROOT
from tuneline.commands.status import StepStatus, status_of
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.store.base import open_store

CHART = ROOT / "helm/tuneline"
TUNELINE = Path(sys.executable).parent / "tuneline"
SERVED = 8000
"""The port of what the tests serve in the cluster."""
Object = dict[str, Any]


def run(*words: str | Path, check: bool = True, text: str | None = None) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run([*map(str, words)], input=text, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stderr or done.stdout}"
    return done.stdout + ("" if check else done.stderr)


class Cluster:
    """A namespace in which Kubernetes refuses what is not restricted."""

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self.namespace = f"tuneline-test-{uuid4().hex[:8]}"
        self.folder = Path()
        self._prefix = ""

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        return run("kubectl", "--namespace", self.namespace, *words, text=text, check=check)

    def get(self, *words: str) -> Object:
        found: Object = json.loads(self.kubectl("get", *words, "--output", "json"))
        return found

    def image(self, name: str) -> str:
        return f"{self.registry}/tuneline/{name}:{VERSION}"

    def helm(self, verb: str, prefix: str, *more: str) -> str:
        """Install or upgrade the release, with its store below `prefix` and `more` values, as `hook.url=http://a`.

        Its pods reach servers at `SERVED`.
        """
        settings = [f"store.uri=s3://tuneline/{prefix}", f"image.registry={self.registry}", "image.pullPolicy=Always"]
        words = [word for setting in (*settings, *more) for word in ("--set", setting)]
        served = json.dumps([{"ports": [{"port": SERVED}]}])
        words += [w for name in ("judge", "hook") for w in ("--set-json", f"networkPolicy.egress.{name}={served}")]
        values = CHART / "ci/laptop-values.yaml"
        said = run("helm", verb, "tuneline", CHART, "-n", self.namespace, "-f", values, *words)
        self._prefix = prefix
        return said

    def upload(self, prefix: str, file: Path = DEMO, **changes: Any) -> Path:
        """Upload the inputs of a run file; return the file for the cluster, with changes by top-level key."""
        content = yaml.safe_load(run(TUNELINE, "upload", file, "--store", f"s3://tuneline/{prefix}"))
        changed = self.folder / f"{uuid4().hex[:8]}.yaml"
        changed.write_text(yaml.safe_dump({k: v for k, v in (content | changes).items() if v is not None}))
        return changed

    def submit(self, file: Path, template: str = "finetune", prefix: str = "store") -> str:
        """Submit the workflow as a user of a release with its store below `prefix` does, and return its name."""
        if prefix != self._prefix:
            self.helm("upgrade", prefix)
        words = ("submit", "--from", f"workflowtemplate/{template}", "--parameter-file", file, "--output", "name")
        return self.argo(*words).split()[-1]

    def argo(self, *words: str | Path) -> str:
        return run("argo", "-n", self.namespace, *words)

    def workflow(self, name: str) -> Object:
        return self.get("workflow", name)

    def nodes(self, name: str, stage: str = "") -> list[Object]:
        """The pods of a workflow as Argo lists them, oldest first."""
        nodes = [n for n in self.workflow(name)["status"].get("nodes", {}).values() if n["type"] == "Pod"]
        of_stage = [n for n in nodes if not stage or task_of(n) == stage]
        return sorted(of_stage, key=lambda node: node["startedAt"] or "")

    def wait(self, name: str, seconds: float = 900) -> str:
        """Wait for the end of a workflow and return its phase; whatever came of it, its metrics must be well."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.workflow(name).get("status", {})
            if status.get("finishedAt"):
                conditions = {row["type"]: row.get("message") for row in status.get("conditions", ())}
                assert "MetricsError" not in conditions, conditions["MetricsError"]
                return str(status["phase"])
            time.sleep(1)
        raise TimeoutError(self.report(name))

    def report(self, name: str) -> str:
        return run("argo", "-n", self.namespace, "get", name, check=False)

    def log(self, node: Object) -> str:
        """What a stage printed, by Argo's record of its pod."""
        return self.argo("logs", node["name"].split(".")[0], pod_of(node), "--no-color")

    def prometheus(self) -> dict[str, float]:
        """What Argo's controller tells of our stages: `stages_total{stage="slicer",status="Failed"}` and so on."""
        [pod] = json.loads(run("kubectl", "get", "pods", "-A", "-l", "app=workflow-controller", "-o", "json"))["items"]
        meta = pod["metadata"]
        place = f"/api/v1/namespaces/{meta['namespace']}/pods/https:{meta['name']}:9090/proxy/metrics"
        rows = re.findall(r"^argo_workflows_tuneline_(\S+) (\S+)$", run("kubectl", "get", "--raw", place), re.MULTILINE)
        return {name: float(value) for name, value in rows}

    def manifests(self, prefix: str, name: str, nodes: Iterable[str] = NODES) -> dict[str, Manifest]:
        store = open_store(f"s3://tuneline/{prefix}")
        found = {node: pinned_manifest(store, name, node) for node in nodes}
        return {node: manifest for node, manifest in found.items() if manifest is not None}

    def step(self, prefix: str, name: str, node: str) -> StepStatus:
        """How far a step of a run is, as `tuneline status` tells it; one that it knows nothing of has not begun."""
        steps = status_of(open_store(f"s3://tuneline/{prefix}"), name).steps
        return next((one for one in steps if one.step == node), StepStatus(step=node, state="waiting"))


TASKS = {node.replace("@", "-"): node for node in NODES}
"""Nodes of a run by the names that they have in the workflow."""


def task_of(node: Object) -> str:
    """The task that a pod belongs to: `demo-x2k4.trainer(0)` is the trainer's first try."""
    return re.sub(r"\(\d+\)$", "", str(node["name"]).split(".")[-1])


def pod_of(node: Object) -> str:
    """The name of a node's pod: `<workflow>-<template>-<hash>`."""
    workflow, _, mark = str(node["id"]).rpartition("-")
    return f"{workflow}-{node.get('templateName') or node['templateRef']['template']}-{mark}"


@contextmanager
def serve_cluster(folder: Path) -> Iterator[Cluster]:
    """Push the images, make a namespace with an S3 server in it, and remove the namespace afterwards."""
    made = Cluster(os.environ["REGISTRY"])
    made.folder = folder
    for name in (*STAGES, "s3"):
        there = f"{made.registry}/tuneline/{name}:{VERSION}"
        docker("tag", image(name), there)
        docker("push", "--quiet", there)
    text = (ROOT / "k8s/namespace.yaml").read_text() + "---\n" + (ROOT / "k8s/s3.yaml").read_text()
    pulled = {
        image("s3"): f"{made.registry}/tuneline/s3:{VERSION}",
        "imagePullPolicy: Never": "imagePullPolicy: Always",
    }
    for old, new in pulled.items():
        text = text.replace(old, new)
    for one in yaml.safe_load_all(text):
        one["metadata"] |= {"name": made.namespace} if one["kind"] == "Namespace" else {"namespace": made.namespace}
        run("kubectl", "apply", "--filename", "-", text=yaml.safe_dump(one))
    try:
        keys = {name: value for name, value in KEYS.items() if name != "AWS_DEFAULT_REGION"}
        literals = [f"--from-literal={name}={value}" for name, value in keys.items()]
        made.kubectl("create", "secret", "generic", "tuneline-s3", *literals)
        made.kubectl("rollout", "status", "deployment/s3", "--timeout=180s")
        with _forwarded(made) as endpoint:
            os.environ.update({**KEYS, "AWS_ENDPOINT_URL": endpoint})
            yield made
    finally:
        made.kubectl("delete", "workflows", "--all", check=False)
        run("kubectl", "delete", "namespace", made.namespace, "--wait=false", check=False)


@contextmanager
def _forwarded(made: Cluster) -> Iterator[str]:
    """Reach the cluster's S3 server at a free port of 127.0.0.1."""
    words = ["kubectl", "--namespace", made.namespace, "port-forward", "service/s3", ":8333"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            (port,) = re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
