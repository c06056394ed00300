"""A workflow that has ended says so to an address in the cluster; one that nobody answers at changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from kit.clusters import SERVED, Cluster
from kit.containers import DEMO
from kit.places import ROOT

pytestmark = pytest.mark.timeout(900)

KEY = "Bearer key-canary"


class Listener:
    """The address, and what it was told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def told(self, name: str) -> list[dict[str, Any]]:
        """What was said of the end of a workflow."""
        said = [json.loads(line) for line in self.cluster.kubectl("logs", "listener").splitlines()]
        assert {one["header"] for one in said} <= {KEY}
        return [one["body"] for one in said if one["body"]["workflow"] == name]


@pytest.fixture(scope="module")
def listener(cluster: Cluster) -> Iterator[Listener]:
    text = (ROOT / "tests/cluster/listener.yaml").read_text()
    cluster.kubectl("apply", "-f", "-", text=text.replace("localhost/tuneline/assessor", cluster.image("assessor")))
    cluster.kubectl("create", "secret", "generic", "hook", f"--from-literal=HOOK_HEADER=Authorization: {KEY}")
    try:
        cluster.kubectl("wait", "--for=condition=Ready", "pod/listener", "--timeout=120s")
        cluster.helm("upgrade", "told", f"hook.url=http://listener:{SERVED}/ended", "hook.existingSecret=hook")
        yield Listener(cluster)
    finally:
        cluster.kubectl("delete", "pod/listener", "service/listener", "secret/hook", "--now", check=False)
        cluster.helm("upgrade", "store")


def test_a_workflow_that_succeeded_is_told_once_with_its_steps(cluster: Cluster, listener: Listener) -> None:
    name = cluster.submit(cluster.upload("told", run="told", goal="slicer"), prefix="told")
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    [end] = listener.told(name)
    assert (end["run"], end["pipeline"], end["status"], end["exit_code"]) == ("told", "finetune", "succeeded", 0)
    assert {step["step"]: step["state"] for step in end["steps"]} == {"assessor": "done", "slicer": "done"}
    assert end["seconds"] > 0 and end["verdict"] is None and end["failed_task"] is None
    [call] = cluster.nodes(name, "hook")
    assert call["phase"] == "Succeeded" and KEY not in json.dumps(cluster.workflow(name)) + cluster.log(call)


def test_a_workflow_that_was_refused_is_told_with_its_exit_code_and_cause(cluster: Cluster, listener: Listener) -> None:
    trainer = yaml.safe_load(DEMO.read_text())["trainer"] | {"learning_rate": -1}
    name = cluster.submit(cluster.upload("told", run="refused", trainer=trainer), prefix="told")
    assert cluster.wait(name) == "Failed"
    [end] = listener.told(name)
    assert (end["run"], end["status"], end["exit_code"], end["failed_task"]) == ("refused", "failed", 2, "check")
    assert end["cause"].startswith("parameter trainer: learning_rate") and end["steps"] == []


def test_a_workflow_that_is_stopped_says_so_too(cluster: Cluster, listener: Listener) -> None:
    trainer = yaml.safe_load(DEMO.read_text())["trainer"] | {"epochs": 50}
    name = cluster.submit(cluster.upload("told", run="stopped", goal="trainer", trainer=trainer), prefix="told")
    while not [n for n in cluster.nodes(name, "trainer") if n["phase"] == "Running"]:
        assert not cluster.workflow(name)["status"].get("finishedAt"), cluster.report(name)
    cluster.argo("stop", name)
    assert cluster.wait(name) == "Failed"
    [end] = listener.told(name)
    assert end["status"] == "failed" and end["run"] == "stopped"


@pytest.mark.parametrize(
    ("value", "attempts", "code"), [("hook.url=http://nobody.invalid/", 3, "75"), ("hook.existingSecret=none", 1, "2")]
)
def test_a_hook_that_fails_leaves_its_workflow_as_it_is(
    cluster: Cluster, listener: Listener, value: str, attempts: int, code: str
) -> None:
    cluster.helm("upgrade", "told", value)
    name = cluster.submit(cluster.upload("told", run=f"alone-{code}", goal="slicer"), prefix="told")
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    calls = [(call["phase"], call["outputs"]["exitCode"]) for call in cluster.nodes(name, "hook")]
    assert calls == [("Failed", code)] * attempts and not listener.told(name)
