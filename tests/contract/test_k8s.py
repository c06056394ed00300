"""k8s/ says the same as the chart."""

from __future__ import annotations

import re
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
    assert container["args"] == [urlsplit(LAPTOP["store"]["uri"]).hostname]
    refs = {row["name"]: row["valueFrom"]["secretKeyRef"] for row in container["env"]}
    assert set(refs) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all(ref == {"name": LAPTOP["store"]["existingSecret"], "key": name} for name, ref in refs.items())
    assert refused_by_restricted(pod["spec"]) == []


def test_only_our_pods_reach_the_development_s3_server_and_it_reaches_nobody() -> None:
    server, policy = named(read("s3.yaml"), "Deployment", "s3"), named(read("s3.yaml"), "NetworkPolicy", "s3")["spec"]
    assert policy["podSelector"]["matchLabels"] == server["spec"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["egress"] == []
    [rule] = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "tuneline"}}}]
    [port] = server["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert rule["ports"] == [{"port": port["name"]}]


def test_no_image_here_comes_from_a_registry_that_somebody_else_may_own() -> None:
    texts = [(K8S / name).read_text() for name in ("install.yaml", "s3.yaml")]
    images = re.findall(r"^\s+image: (\S+)", "\n".join(texts), re.MULTILINE)
    assert len(images) >= 6 and all(image.startswith("localhost/tuneline/") for image in images)
    assert len(re.findall(r"imagePullPolicy: Never", "\n".join(texts))) == len(images)
    for script in (ROOT / "examples" / "docker.sh", ROOT / "images" / "README.md", ROOT / "README.md"):
        runs = re.findall(r"docker run (?:[^\n]*\\\n)*[^\n]*", script.read_text())
        assert runs and all("--pull never" in run for run in runs), script.name


def test_what_images_stand_on_is_debians_or_our_own() -> None:
    for file in (ROOT / "images").glob("*/Dockerfile"):
        bases = re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)
        stages = re.findall(r"^FROM \S+ AS (\S+)", file.read_text(), re.MULTILINE)
        own = [base for base in bases if base.startswith("localhost/tuneline/") or base in stages]
        assert own == bases or (file.parent.name == "base" and bases == ["$DEBIAN"])
