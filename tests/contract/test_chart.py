"""helm/tuneline says the same as the stages and argo/, and makes only what Kubernetes takes."""

from __future__ import annotations

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from chart import CHART, render
from kit.manifests import CI_VALUES, TEMPLATES, Object, check_schema, named, pod_of, refused_by_restricted, rendered
from kit.places import ROOT
from tuneline.stage import installed_stages

STAGES = installed_stages()
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
LEAST: dict[str, Any] = {"store": {"uri": "s3://bucket/prefix"}}
each_ci_file = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
GPU_POOL, AIR_GAPPED = CHART / "ci" / "gpu-pool-values.yaml", CHART / "ci" / "air-gapped-values.yaml"


def with_value(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(LEAST)
    *folders, name = path.split(".")
    place = values
    for folder in folders:
        place = place.setdefault(folder, {})
    place[name] = value
    return values


def main_of(pod: Object) -> Object:
    return next(c for c in pod["spec"]["containers"] if c["name"] == "main")


def sources(container: Object) -> list[str]:
    """Return the names of the ConfigMaps and Secrets that a container has its variables from."""
    return [next(iter(source.values()))["name"] for source in container["envFrom"]]


def test_the_version_is_the_libraries_and_the_images() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


def test_the_values_have_the_stages_and_what_each_may_reach_follows_from_its_inputs() -> None:
    assert set(VALUES["stages"]) == set(STAGES)
    for name, stage in STAGES.items():
        read = {port.name for port in stage.input_ports()}
        reaches = {peer for peer, port in (("hub", "base_model"), ("judge", "judge")) if port in read}
        assert set(VALUES["stages"][name]["reaches"]) == reaches
        assert "simulator" not in read or "judge" in reaches


def without_labels(one: Object) -> Object:
    one = copy.deepcopy(one)
    one["metadata"] = {"name": one["metadata"]["name"], "annotations": one["metadata"]["annotations"]}
    one["spec"].pop("workflowMetadata", None)
    for part in one["spec"]["templates"]:
        part.get("metadata", {}).pop("labels", None)
    return one


def test_the_chart_carries_argo_as_it_is_and_adds_labels() -> None:
    assert (CHART / "files" / "argo").resolve() == ROOT / "argo"
    made = {one["metadata"]["name"]: one for one in rendered(CI_VALUES[0]) if one["kind"] == "WorkflowTemplate"}
    assert set(made) == set(TEMPLATES)
    for name, one in made.items():
        assert without_labels(one) == without_labels(TEMPLATES[name])
    for stage in STAGES:
        own, labels = (all_of[stage]["spec"]["templates"][0]["metadata"]["labels"] for all_of in (TEMPLATES, made))
        assert own.items() < labels.items()


def test_the_settings_are_those_that_the_templates_read() -> None:
    read = {
        row["valueFrom"]["configMapKeyRef"]["key"]
        for stage in STAGES
        for row in TEMPLATES[stage]["spec"]["templates"][0]["inputs"]["parameters"]
        if "valueFrom" in row
    }
    settings = named(rendered(CI_VALUES[0]), "ConfigMap", "tuneline")
    assert set(settings["data"]) == read
    assert settings["metadata"]["labels"]["workflows.argoproj.io/configmap-type"] == "Parameter"


@each_ci_file
def test_kubernetes_takes_everything_that_the_chart_makes(values: Path) -> None:
    for one in rendered(values):
        check_schema(one)
        assert one["metadata"]["namespace"] == "tuneline"


@each_ci_file
@pytest.mark.parametrize("stage", sorted(STAGES))
def test_each_pod_is_valid_restricted_and_without_a_token_for_the_stage(values: Path, stage: str) -> None:
    pod = pod_of(stage, rendered(values))
    check_schema(pod)
    assert refused_by_restricted(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    containers = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    mounts = {c["name"]: {m["name"] for m in c.get("volumeMounts", ())} for c in containers}
    assert {name for name, volumes in mounts.items() if "executor-token" in volumes} == {"init", "wait"}
    assert mounts["main"] <= {volume["name"] for volume in pod["spec"]["volumes"]}
    assert main_of(pod)["securityContext"]["readOnlyRootFilesystem"] is True
    sizes = [v["emptyDir"].get("sizeLimit") for v in pod["spec"]["volumes"] if "emptyDir" in v]
    assert sizes and None not in sizes


@each_ci_file
def test_helm_lint_finds_nothing(values: Path) -> None:
    report = helm_python.lint(str(CHART), yaml.safe_load(values.read_text()), strict=True)
    assert [m for m in report["messages"] if m["severity"] > 1] == report["errors"] == []


@each_ci_file
def test_the_check_of_the_store_runs_restricted_and_as_a_stage_would(values: Path) -> None:
    found = rendered(values)
    pod = named(found, "Pod", "tuneline-check-store")
    assert refused_by_restricted(pod["spec"]) == []
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert sources(pod["spec"]["containers"][0]) == sources(main_of(pod_of("assessor", found)))
    assert pod["spec"]["containers"][0]["image"] == named(found, "ConfigMap", "tuneline")["data"]["assessor.image"]
    policy = named(found, "NetworkPolicy", "tuneline-assessor")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= pod["metadata"]["labels"].items()


def test_the_service_account_may_report_results_and_do_nothing_else() -> None:
    found = rendered(GPU_POOL)
    assert named(found, "Role", "tuneline")["rules"] == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    bindings = [one for one in found if "Binding" in one["kind"]]
    assert [one["kind"] for one in bindings] == ["RoleBinding"]
    assert [s["name"] for s in bindings[0]["subjects"]] == ["tuneline"]
    assert named(found, "ServiceAccount", "tuneline")["automountServiceAccountToken"] is False
    assert TEMPLATES["finetune"]["spec"]["serviceAccountName"] == "tuneline"


def test_a_secret_is_seen_by_the_stages_that_need_it_and_by_no_other() -> None:
    found = rendered(GPU_POOL)
    seen = {stage: set(sources(main_of(pod_of(stage, found)))) for stage in STAGES}
    assert all({"tuneline-env", "tuneline-s3"} <= names for names in seen.values())
    assert {stage for stage, names in seen.items() if "tuneline-judge" in names} == {"assessor", "evaluator"}
    assert {stage for stage, names in seen.items() if "tuneline-hub" in names} == set(STAGES) - {"assessor"}
    assert not [one for one in found if one["kind"] == "Secret"]


@each_ci_file
@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_pod_may_reach_what_its_policy_lists_and_is_reached_by_nobody(values: Path, stage: str) -> None:
    found = rendered(values)
    egress = render_values(values)["networkPolicy"]["egress"]
    policy = named(found, "NetworkPolicy", f"tuneline-{stage}")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod_of(stage, found)["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["ingress"] == []
    peers = ["dns", "apiServer", "store", *VALUES["stages"][stage]["reaches"]]
    listed = [rule for peer in peers for rule in egress[peer]]
    assert all(rule in listed for rule in policy["egress"]) and all(rule in policy["egress"] for rule in listed)


def render_values(values: Path) -> dict[str, Any]:
    with helm_python.Chart.load(str(CHART)) as chart:
        merged: dict[str, Any] = chart.merge_values(yaml.safe_load(values.read_text()))
    return merged


def test_scratch_is_where_the_images_work() -> None:
    base = (ROOT / "images" / "base" / "Dockerfile").read_text()
    mounts = {m["mountPath"] for m in main_of(pod_of("trainer", rendered(GPU_POOL)))["volumeMounts"]}
    assert "TUNELINE_SCRATCH=/scratch" in base and "HOME=/scratch" in base
    assert mounts == {"/scratch", "/tmp", "/dev/shm", "/cache"}


def test_large_scratch_can_be_a_volume_of_its_own() -> None:
    volumes = {v["name"]: v for v in pod_of("trainer", rendered(GPU_POOL))["spec"]["volumes"]}
    claim = volumes["scratch"]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "60Gi")
    assert "emptyDir" not in volumes["scratch"]


def test_a_gpu_a_queue_and_an_identity_reach_the_pod() -> None:
    found = rendered(GPU_POOL)
    pod = pod_of("trainer", found)["spec"]
    assert main_of({"spec": pod})["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["tolerations"] and pod["nodeSelector"] and pod["runtimeClassName"] == "nvidia"
    part = named(found, "WorkflowTemplate", "trainer")["spec"]["templates"][0]
    assert part["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "fine-tuning"
    account = named(rendered(CHART / "ci" / "aws-workload-identity-values.yaml"), "ServiceAccount", "tuneline")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]


def test_own_authorities_are_mounted_where_the_variables_point_to() -> None:
    found = rendered(AIR_GAPPED)
    variables = named(found, "ConfigMap", "tuneline-env")["data"]
    files = {variables[name] for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    for stage in STAGES:
        pod = pod_of(stage, found)
        [mount] = [m for m in main_of(pod)["volumeMounts"] if m["name"] == "ca"]
        assert files == {f"{mount['mountPath']}/ca-bundle.crt"}
        assert {"name": "ca", "configMap": {"name": "internal-authorities"}} in pod["spec"]["volumes"]


def test_an_image_is_named_by_registry_stage_tag_and_digest() -> None:
    data = named(rendered(AIR_GAPPED), "ConfigMap", "tuneline")["data"]
    pattern = r"registry\.internal:5000/machine-learning/tuneline/(.+):0\.1\.0@sha256:[0-9a-f]{64}"
    assert all(re.fullmatch(pattern, data[f"{stage}.image"])[1] == stage for stage in STAGES)  # type: ignore[index]


MISSPELT = [
    ("storre", {}, "storre"),
    ("store.url", "s3://a/b", "url"),
    ("stages.slicers", {}, "slicers"),
    ("stages.slicer.resorces", {}, "resorces"),
    ("stages.trainer.resources.limit", {"cpu": 1}, "limit"),
    ("stages.trainer.tolerations", [{"keey": "a"}], "keey"),
    ("stages.trainer.scratch.sizes", "1Gi", "sizes"),
    ("stageDefaults.graceSecond", 60, "graceSecond"),
    ("networkPolicy.egress.jugde", [], "jugde"),
    ("networkPolicy.egress.judge", [{"port": [{"port": 443}]}], "port"),
    ("serviceAccount.anotations", {}, "anotations"),
    ("env", {"https-proxy": "http://proxy:3128"}, "https-proxy"),
]
KEY_IN_VALUES = ("env", {"OPENAI_API_KEY": "text"}, "OPENAI_API_KEY")


@pytest.mark.parametrize(("path", "value", "name"), [*MISSPELT, KEY_IN_VALUES])
def test_a_misspelt_value_or_one_out_of_place_is_refused_with_its_name(path: str, value: Any, name: str) -> None:
    with pytest.raises(helm_python.HelmError, match=f"'{name}'"):
        render(with_value(path, value))


WRONG = [
    ("store.uri", "gs://bucket"),
    ("stages.trainer.reaches", ["internet"]),
    ("stages.trainer.digest", "latest"),
    ("stages.trainer.scratch", {"size": "a lot"}),
    ("stages.trainer.graceSeconds", 10),
    ("env", {"MODE": 1}),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(path: str, value: Any) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape("/" + path.replace(".", "/"))):
        render(with_value(path, value))


def test_without_a_store_nothing_is_installed() -> None:
    with pytest.raises(helm_python.HelmError, match="/store/uri"):
        render({})
