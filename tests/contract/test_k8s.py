"""k8s/ says the same as the chart."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import yaml

from chart import CHART
from kit.manifests import Object, check_schema, named, objects, refused_by_restricted
from kit.places import ROOT

K8S = ROOT / "k8s"
LAPTOP = yaml.safe_load((CHART / "ci" / "laptop-values.yaml").read_text())


def read(name: str) -> list[Object]:
    return objects((K8S / name).read_text())


@pytest.mark.parametrize("name", ["install.yaml", "namespace.yaml", "s3.yaml"])
def test_kubernetes_takes_what_is_here(name: str) -> None:
    for one in read(name):
        check_schema(one)
        assert one["metadata"].get("namespace") == (None if one["kind"] == "Namespace" else "tuneline")


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    [namespace] = read("namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert read("install.yaml")[0] == namespace


def test_what_is_installed_brings_no_secret_and_no_test() -> None:
    assert {one["kind"] for one in read("install.yaml")} == {
        "Namespace", "WorkflowTemplate", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy",
    }  # fmt: skip


def test_the_development_s3_server_is_the_one_that_the_laptop_values_name() -> None:
    service, server = named(read("s3.yaml"), "Service", "s3"), named(read("s3.yaml"), "Deployment", "s3")
    pod = server["spec"]["template"]
    [container] = pod["spec"]["containers"]
    endpoint = urlsplit(LAPTOP["store"]["endpoint"])
    [rule] = LAPTOP["networkPolicy"]["egress"]["store"]
    assert endpoint.hostname == service["metadata"]["name"]
    assert endpoint.port == service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]
    assert rule["ports"] == [{"port": endpoint.port}]
    assert rule["to"] == [{"podSelector": {"matchLabels": pod["metadata"]["labels"]}}]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    assert f"-bucket={urlsplit(LAPTOP['store']['uri']).hostname}" in container["args"]
    assert container["envFrom"] == [{"secretRef": {"name": LAPTOP["store"]["existingSecret"]}}]
    assert refused_by_restricted(pod["spec"]) == []
