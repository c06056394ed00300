"""helm/tuneline says the same as the stages and argo/, and makes only what Kubernetes takes."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from pydantic import ValidationError

from chart import CHART, render
from kit.manifests import (
    CI_VALUES,
    TEMPLATES,
    VALUES,
    Object,
    check_schema,
    named,
    objects,
    pod_of,
    reached_by,
    refused_by_restricted,
    rendered,
)
from kit.places import ROOT
from tuneline.llm.config import OpenAiConfig
from tuneline.stage import installed_stages
from tuneline_trainer.record.tracking import VARIABLES

STAGES = installed_stages()
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


def sources(container: Object) -> set[tuple[str, str]]:
    """Return the Secrets, with their keys, that a container has its variables from."""
    refs = [row["valueFrom"]["secretKeyRef"] for row in container["env"] if "valueFrom" in row]
    assert container["envFrom"] == [{"configMapRef": {"name": "tuneline-env"}}], "a whole Secret is seen"
    return {(ref["name"], ref["key"]) for ref in refs}


def test_the_version_is_the_libraries_and_the_images() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


REACHED = (
    ("hub", "base_model"), ("hub", "speech_model"), ("judge", "judge"), ("judge", "writer"), ("judge", "recogniser"),
)  # fmt: skip
"""Who is asked for an input, by its name."""


def test_the_values_have_the_stages_and_what_each_may_reach_follows_from_its_inputs() -> None:
    assert set(VALUES["stages"]) <= {*STAGES, "check", "hook"}
    assert set(reached_by("check")) == {peer for name in STAGES for peer in reached_by(name)}
    for name, stage in STAGES.items():
        read = {port.name for port in stage.input_ports()}
        reaches = {peer for peer, port in REACHED if port in read}
        reaches |= {"hub"} if stage.takes_runs else set()
        assert set(reached_by(name)) == reaches
        assert "simulator" not in read or "judge" in reaches


def as_in_argo(one: Object) -> Object:
    """Take away what the chart adds to a workflow template."""
    one = copy.deepcopy(one)
    one["metadata"] = {"name": one["metadata"]["name"], "annotations": one["metadata"]["annotations"]}
    one["spec"].pop("workflowMetadata")
    one["spec"].pop("hooks", None)
    for part in one["spec"]["templates"]:
        part.get("metadata", {}).pop("labels", None)
        for key in ("activeDeadlineSeconds", "podSpecPatch"):
            part.pop(key, None)
        for key in ("image", "imagePullPolicy"):
            part.get("container", {}).pop(key, None)
    return one


def test_the_chart_carries_argo_and_writes_in_what_differs_from_cluster_to_cluster() -> None:
    made = {one["metadata"]["name"]: one for one in rendered(CI_VALUES[0]) if one["kind"] == "WorkflowTemplate"}
    assert set(made) == set(TEMPLATES) - {"hook"}
    for name, one in made.items():
        assert as_in_argo(one) == as_in_argo(TEMPLATES[name])
    for stage in STAGES:
        for own, part in zip(*(all_of[stage]["spec"]["templates"] for all_of in (TEMPLATES, made)), strict=True):
            assert own["metadata"]["labels"].items() < part["metadata"]["labels"].items()
            assert part["activeDeadlineSeconds"] == 86400
            assert part["container"]["image"].startswith("registry.internal:5000/")
            assert yaml.safe_load(part["podSpecPatch"])["terminationGracePeriodSeconds"] == 60


def test_the_chart_holds_files_and_no_link_that_a_packer_would_skip() -> None:
    assert not [path for path in CHART.rglob("*") if path.is_symlink()]
    assert (ROOT / "argo").resolve() == CHART / "files" / "argo"


def test_a_stage_that_is_added_has_the_defaults_and_a_policy_without_a_word_in_the_values(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "tuneline")
    files = tmp_path / "tuneline" / "files" / "argo"
    (files / "copied.yaml").write_text((files / "slicer.yaml").read_text().replace("slicer", "copied"))
    with helm_python.Chart.load(str(tmp_path / "tuneline")) as chart:
        made = chart.render(LEAST, name="tuneline", namespace="tuneline")
    found = [one for name, text in made.items() if name.endswith(".yaml") for one in objects(text)]
    policy = named(found, "NetworkPolicy", "tuneline-copied")["spec"]
    assert policy["egress"] == [
        rule for peer in ("dns", "apiServer", "store") for rule in VALUES["networkPolicy"]["egress"][peer]
    ]
    main = main_of(pod_of("copied", found))
    assert main["image"] == "localhost/tuneline/copied:0.1.0"
    assert main["resources"] == VALUES["stageDefaults"]["resources"]


def test_a_chart_without_its_workflow_templates_is_refused_and_installs_no_half(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "tuneline", ignore=lambda _, names: [n for n in names if n == "files"])
    with (
        helm_python.Chart.load(str(tmp_path / "tuneline")) as chart,
        pytest.raises(helm_python.HelmError, match="files/argo"),
    ):
        chart.render(LEAST, name="tuneline", namespace="tuneline")


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
    assert pod["spec"]["containers"][0]["image"] == main_of(pod_of("assessor", found))["image"]
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


def test_a_key_of_a_secret_is_seen_by_the_stages_that_need_it_and_no_other_key_by_any() -> None:
    found = rendered(GPU_POOL)
    seen = {stage: sources(main_of(pod_of(stage, found))) for stage in STAGES}
    store = {("tuneline-s3", f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    judge = {("tuneline-judge", name) for name in VALUES["judge"]["keys"]}
    hub = {("tuneline-hub", "HF_TOKEN")}
    keys = {"judge": judge, "hub": hub}
    needed = {stage: store.union(*(keys[peer] for peer in reached_by(stage))) for stage in STAGES}
    assert seen == needed | {"publisher": store | {("tuneline-publish", "HF_TOKEN")}}
    assert seen["assessor"] == store | judge and seen["slicer"] == store | hub
    assert not [one for one in found if one["kind"] == "Secret"]


TRACKED: dict[str, Any] = LEAST | {
    "tracking": {"env": {"MLFLOW_TRACKING_URI": "http://mlflow.ml:5000"}, "existingSecret": "trackers"},
    "networkPolicy": {"egress": {"tracking": [{"ports": [{"port": 5000}]}]}},
}


ACCEPTED = {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SERVER_URL",
            "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT"}  # fmt: skip


def test_trackers_are_told_to_the_trainer_and_the_check_and_reached_by_the_trainer_alone() -> None:
    found = rendered(TRACKED)
    for stage in [*STAGES, "check"]:
        main = main_of(pod_of(stage, found))
        told = {row["name"] for row in main["env"] if row["name"].startswith(("MLFLOW", "WANDB", "TRACKIO"))}
        assert bool(told) == (stage in ("trainer", "check")), stage
        reached = (
            TRACKED["networkPolicy"]["egress"]["tracking"][0]
            in named(found, "NetworkPolicy", f"tuneline-{stage}")["spec"]["egress"]
        )
        assert reached == (stage == "trainer"), stage
    main = main_of(pod_of("trainer", found))
    assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.ml:5000"} in main["env"]
    known = {name for tracker in VARIABLES.values() for name in (*tracker.needed, *tracker.others)}
    keys = {key for secret, key in sources(main) if secret == "trackers"}
    assert keys == {name for name in known if re.search("KEY|TOKEN|USERNAME|PASSWORD", name)}
    for name in known - keys:
        with nullcontext() if name in ACCEPTED else pytest.raises(helm_python.HelmError, match=f"'{name}'"):
            render(with_value("tracking.env", {name: "text"}))


@each_ci_file
@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_pod_may_reach_what_its_policy_lists_and_is_reached_by_nobody(values: Path, stage: str) -> None:
    found = rendered(values)
    egress = render_values(values)["networkPolicy"]["egress"]
    policy = named(found, "NetworkPolicy", f"tuneline-{stage}")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod_of(stage, found)["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["ingress"] == []
    peers = ["dns", "apiServer", "store", *reached_by(stage)]
    listed = [rule for peer in peers for rule in egress[peer]]
    assert all(rule in listed for rule in policy["egress"]) and all(rule in policy["egress"] for rule in listed)


BUCKET: Object = {"to": [{"ipBlock": {"cidr": "10.0.1.0/24"}}]}
API: Object = {"to": [{"ipBlock": {"cidr": "10.0.0.10/32"}}]}
ANYWHERE: list[Object] = [
    {"ports": [{"port": 443}]},
    {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},
    {"to": [{"ipBlock": {"cidr": "2000::/3"}}]},
]


def egress(**lists: list[Object]) -> dict[str, Any]:
    closed = {"apiServer": [API], "store": [BUCKET], "hub": [], "judge": [], "hook": []}
    return LEAST | {"networkPolicy": {"egress": closed | lists}}


def test_an_empty_list_denies() -> None:
    for stage in STAGES:
        policy = named(rendered(egress()), "NetworkPolicy", f"tuneline-{stage}")["spec"]
        assert policy["egress"] == [*VALUES["networkPolicy"]["egress"]["dns"], API, BUCKET]


@pytest.mark.parametrize("rule", ANYWHERE)
@pytest.mark.parametrize("opener", ["apiServer", "store", "hub", "judge"])
def test_an_empty_list_that_another_one_undoes_is_refused_by_name(opener: str, rule: Object) -> None:
    undone = rf"egress\.\w+ is empty, but \S+ may reach every address by networkPolicy\.egress\.{opener}:"
    with pytest.raises(helm_python.HelmError, match=undone):
        rendered(egress(**{opener: [BUCKET, rule]}))


def test_a_hosted_judge_and_a_closed_hub_go_together_where_no_stage_is_said_to_reach_both() -> None:
    values = egress(judge=[ANYWHERE[0]]) | {
        "stages": {name: {"reaches": ["judge"]} for name in ("check", "evaluator", "transcriber")}
    }
    found = rendered(values)
    open_to_all = {
        s for s in [*STAGES, "check"] if ANYWHERE[0] in named(found, "NetworkPolicy", f"tuneline-{s}")["spec"]["egress"]
    }
    assert open_to_all == {"assessor", "calibrator", "check", "evaluator", "generator", "transcriber"}


@pytest.mark.parametrize("label", ["app.kubernetes.io/part-of", "app.kubernetes.io/component", "helm.sh/chart",
                                   "workflows.argoproj.io/workflow", "kueue.x-k8s.io/queue-name"])  # fmt: skip
def test_a_label_that_policies_select_by_or_a_controller_obeys_is_refused(label: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(f"'{label}'")):
        render(with_value("labels", {label: "ml-platform"}))


def test_the_charts_own_labels_win_even_past_the_schema(past_the_schema: Callable[[Object], list[Object]]) -> None:
    values = with_value(
        "labels", {"app.kubernetes.io/part-of": "theirs", "app.kubernetes.io/component": "theirs", "team": "a"}
    )
    found = past_the_schema(values)
    for stage in STAGES:
        policy = named(found, "NetworkPolicy", f"tuneline-{stage}")["spec"]["podSelector"]["matchLabels"]
        for part in named(found, "WorkflowTemplate", stage)["spec"]["templates"]:
            assert (policy | {"team": "a"}).items() <= part["metadata"]["labels"].items()
    workflow = named(found, "WorkflowTemplate", "finetune")["spec"]["workflowMetadata"]["labels"]
    assert workflow["app.kubernetes.io/part-of"] == "tuneline" and workflow["team"] == "a"


@pytest.fixture(scope="session")
def past_the_schema(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Object], list[Object]]:
    """Render values that the schema would refuse, as `--skip-schema-validation` does."""
    folder = tmp_path_factory.mktemp("chart") / "tuneline"
    shutil.copytree(CHART, folder, ignore=lambda _, names: [n for n in names if n == "values.schema.json"])

    def past(values: Object) -> list[Object]:
        with helm_python.Chart.load(str(folder)) as chart:
            made = chart.render(values, name="tuneline", namespace="tuneline")
        return [one for name, text in made.items() if name.endswith(".yaml") for one in objects(text)]

    return past


HOSTILE = "1Gi}\n- name: host\n  hostPath: {path: /}\n# \"'{{"


def leaves(node: Any, path: str = "") -> list[str]:
    if isinstance(node, dict) and node:
        return [leaf for key, value in node.items() for leaf in leaves(value, f"{path}.{key}")]
    return [path.removeprefix(".")] if isinstance(node, str) else []


def shape(node: Any) -> Any:
    """Keys and lengths, without the texts."""
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items()}
    return [shape(one) for one in node] if isinstance(node, list) else ""


def whole(found: list[Object]) -> list[Object]:
    """Open the patches, which are YAML in a text."""
    for one in found:
        for part in one["spec"]["templates"] if one["kind"] == "WorkflowTemplate" else ():
            if "podSpecPatch" in part:
                part["podSpecPatch"] = yaml.safe_load(part["podSpecPatch"])
    return found


@pytest.mark.parametrize("path", [leaf for leaf in leaves(VALUES) if not leaf.startswith("stages.")])
def test_a_value_is_never_pasted_even_past_the_schema(
    path: str, past_the_schema: Callable[[Object], list[Object]]
) -> None:
    harmless, hostile = (whole(past_the_schema(with_value(path, text))) for text in ("harmless", HOSTILE))
    assert shape(hostile) == shape(harmless)


def render_values(values: Path) -> dict[str, Any]:
    with helm_python.Chart.load(str(CHART)) as chart:
        merged: dict[str, Any] = chart.merge_values(yaml.safe_load(values.read_text()))
    return merged


def test_scratch_is_where_the_images_work() -> None:
    base = (ROOT / "images" / "base" / "Dockerfile").read_text()
    mounts = {m["mountPath"] for m in main_of(pod_of("trainer", rendered(GPU_POOL)))["volumeMounts"]}
    assert "TUNELINE_SCRATCH=/scratch" in base and "HOME=/scratch" in base
    assert mounts == {"/scratch", "/tmp", "/dev/shm", "/cache"}


def test_an_evaluator_with_a_gpu_runs_in_an_image_that_can_use_it() -> None:
    on_gpu, digest = yaml.safe_load((CHART / "ci" / "gpu-evaluator-values.yaml").read_text()), "sha256:" + "ab" * 32
    stages = on_gpu["stages"]
    pod = pod_of("evaluator", rendered(on_gpu))
    resources = main_of(pod)["resources"]
    assert (resources["limits"]["nvidia.com/gpu"], resources["requests"]["nvidia.com/gpu"]) == (1, 1)
    assert main_of(pod)["image"].startswith("registry.example.com/team/tuneline/evaluator-cuda:")
    assert pod["spec"]["tolerations"] and pod["spec"]["nodeSelector"] and pod["spec"]["runtimeClassName"] == "nvidia"
    # A digest of the other image would be pulled in its place.
    stages["evaluator"] |= {"digest": "sha256:" + "cd" * 32, "gpuDigest": digest}
    assert main_of(pod_of("evaluator", rendered(on_gpu)))["image"].endswith(f"@{digest}")
    stages["evaluator"]["gpu"] = 0
    pod = pod_of("evaluator", rendered(on_gpu))
    assert "/evaluator:" in main_of(pod)["image"] and main_of(pod)["image"].endswith("cd" * 32)
    assert "nvidia.com/gpu" not in main_of(pod)["resources"]["limits"]
    assert "/trainer:" in main_of(pod_of("trainer", rendered(on_gpu)))["image"]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (
            "stages.slicer.resources.limits",
            {"memory": "512Mi"},
            "slicer.*requests.memory is 1Gi .* limits.memory is 512Mi",
        ),
        ("stages.trainer.resources.requests", {"memory": "8.5Gi"}, "trainer.*requests.memory is 8.5Gi .* is 8Gi"),
        ("stages.trainer.resources.requests", {"memory": 16_000_000_000}, "trainer.*requests.memory is 1.6e.10 .* 8Gi"),
        ("stages.evaluator.resources.limits", {"cpu": "900m"}, "evaluator.*requests.cpu is 1 .* limits.cpu is 900m"),
        ("stages.publisher.resources.limits", {"cpu": 0.25}, "publisher.*requests.cpu is 500m .* limits.cpu is 0.25"),
        ("stageDefaults.resources.limits.memory", "1G", "assessor.*requests.memory is 1Gi .* limits.memory is 1G;"),
    ],
)
def test_a_request_over_its_limit_is_refused_because_no_pod_would_run(place: str, value: Any, said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        render(with_value(place, value))


@pytest.mark.parametrize(
    ("requests", "limits"),
    [({"memory": "1Gi"}, {"memory": "1024Mi"}), ({"cpu": "1"}, {"cpu": 1}), ({"cpu": "999m"}, {"cpu": "1"})],
)
def test_a_request_up_to_its_limit_is_taken(requests: dict[str, Any], limits: dict[str, Any]) -> None:
    values = with_value("stages.slicer.resources", {"requests": requests, "limits": limits})
    resources = main_of(pod_of("slicer", rendered(values)))["resources"]
    assert requests.items() <= resources["requests"].items() and limits.items() <= resources["limits"].items()


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
    found = rendered(AIR_GAPPED)
    pattern = r"registry\.internal:5000/machine-learning/tuneline/(.+):0\.1\.0@sha256:[0-9a-f]{64}"
    for stage in VALUES["stages"].keys() - {"hook"}:
        main = main_of(pod_of(stage, found))
        match = re.fullmatch(pattern, main["image"])
        assert match and match[1] == ("assessor" if stage == "check" else stage)
        assert {"name": "TUNELINE_IMAGE", "value": main["image"]} in main["env"]


def test_without_a_registry_the_images_are_the_nodes_own_and_nothing_is_pulled() -> None:
    for stage in STAGES:
        main = main_of(pod_of(stage, rendered(LEAST)))
        assert (main["image"], main["imagePullPolicy"]) == (f"localhost/tuneline/{stage}:0.1.0", "Never")


MISSPELT = [
    ("storre", {}, "storre"),
    ("store.url", "s3://a/b", "url"),
    ("stages.slicers", {}, "slicers"),
    ("stages.slicer.resorces", {}, "resorces"),
    ("stages.trainer.resources.limit", {"cpu": 1}, "limit"),
    ("stages.trainer.resources.limits.memroy", "16Gi", "memroy"),
    ("stages.trainer.tolerations", [{"keey": "a"}], "keey"),
    ("stages.trainer.scratch.sizes", "1Gi", "sizes"),
    ("stageDefaults.graceSecond", 60, "graceSecond"),
    ("networkPolicy.egress.jugde", [], "jugde"),
    ("networkPolicy.egress.judge", [{"port": [{"port": 443}]}], "port"),
    ("serviceAccount.anotations", {}, "anotations"),
    ("tracking.env", {"WANDB_API_KEY": "text"}, "WANDB_API_KEY"),
    ("env", {"https-proxy": "http://proxy:3128"}, "https-proxy"),
]
OUT_OF_PLACE = [
    ("env", {name: "text"}, name)
    for name in (
        "OPENAI_API_KEY", "DB_PASSWD", "AWS_CREDS", "LD_PRELOAD", "PYTHONPATH", "AWS_ENDPOINT_URL", "TUNELINE_STORE",
        "HF_TOKEN", "HF_HOME", "AWS_CONFIG_FILE", "SSL_CERT_FILE", "CUDA_INJECTION64_PATH",
    )
]  # fmt: skip
"""Variables with secrets, and those that load code or change the store."""


@pytest.mark.parametrize(("path", "value", "name"), [*MISSPELT, *OUT_OF_PLACE])
def test_a_misspelt_value_or_one_out_of_place_is_refused_with_its_name(path: str, value: Any, name: str) -> None:
    with pytest.raises(helm_python.HelmError, match=f"'{name}'"):
        render(with_value(path, value))


WRONG = [
    ("store.uri", "gs://bucket"),
    ("stages.trainer.reaches", ["internet"]),
    ("stages.trainer.digest", "latest"),
    ("stages.trainer.scratch", {"size": "a lot"}),
    ("stages.trainer.graceSeconds", 10),
    ("env.TZ", 1),
    ("env.HTTPS_PROXY", "http://me:secret@proxy:3128"),
    ("tracking.env.MLFLOW_TRACKING_URI", "http://me:secret@mlflow:5000"),
    ("store.endpoint", "https://key:secret@s3.internal"),
    ("store.uri", "s3://bucket/$(AWS_SECRET_ACCESS_KEY)"),
    ("stages.trainer.shmSize", "1Gi}"),
    ("stages.trainer.tmpSize", "512K"),
    ("stages.trainer.tmpSize", "1..5Gi"),
    ("stages.trainer.priorityClassName", "a b"),
    ("judge.keys", ["AWS_SECRET_ACCESS_KEY"]),
    ("image.registry", ""),
    ("image.registry", "tuneline"),
    ("image.repository", "a b"),
    ("labels.team", "a b"),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(path: str, value: Any) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape("/" + path.replace(".", "/"))):
        render(with_value(path, value))


OTHERS = [
    "OUR_MODEL_KEY",
    "NPM_API_TOKEN",
    "WANDB_API_KEY",
    "TEAM_MISTRAL_X_API_KEY",
    "LLM_TOKEN",
    "AWS_API_KEY",
    "MY_HF_API_KEY",
    "DB_PASSWORD",
    "KUBERNETES_API_TOKEN",
    "MODEL",
]


@pytest.mark.parametrize("name", [*VALUES["judge"]["keys"], *OTHERS])
def test_a_key_is_handed_on_if_and_only_if_a_run_file_may_name_it(name: str) -> None:
    try:
        OpenAiConfig(provider="openai", model="m", api_key_env=name, base_url="http://127.0.0.1:1/v1")
        named = True
    except ValidationError:
        named = False
    try:
        render(with_value("judge.keys", [name]))
        handed_on = True
    except helm_python.HelmError:
        handed_on = False
    assert named == handed_on


@pytest.mark.parametrize("path", ["networkPolicy.egress.hub", "image.pullPolicy", "stageDefaults.tmpSize"])
def test_a_default_that_null_would_take_away_is_refused(path: str) -> None:
    with pytest.raises(helm_python.HelmError, match=f"missing property '{path.rpartition('.')[2]}'"):
        render(with_value(path, None))


def test_without_a_store_nothing_is_installed() -> None:
    with pytest.raises(helm_python.HelmError, match="/store/uri"):
        render({})


def test_alerts_and_dashboard_are_there_when_asked_for_and_know_the_templates_figures() -> None:
    kinds = {(one["kind"], one["metadata"]["name"]) for one in rendered(LEAST)}
    assert not kinds & {("PrometheusRule", "tuneline"), ("ConfigMap", "tuneline-dashboard")}
    asked = {"alerts": True, "alertLabels": {"release": "prometheus"}, "dashboard": True}
    found = rendered(LEAST | {"monitoring": asked})
    rule, board = named(found, "PrometheusRule", "tuneline"), named(found, "ConfigMap", "tuneline-dashboard")
    check_schema(board)
    assert (
        rule["metadata"]["labels"]["release"] == "prometheus"
        and board["metadata"]["labels"]["grafana_dashboard"] == "1"
    )
    alerts = [row for group in rule["spec"]["groups"] for row in group["rules"]]
    assert {"TunelineStageFailed", "TunelineWorse", "TunelineSpends"} == {row["alert"] for row in alerts}
    assert all(row["annotations"].keys() == {"summary", "description"} and row["labels"]["severity"] for row in alerts)
    panels = json.loads(board["data"]["tuneline.json"])["panels"]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels) == 5
    asks = [row["expr"] for row in alerts] + [target["expr"] for panel in panels for target in panel["targets"]]
    told = {
        f"argo_workflows_{row['name']}": row
        for row in TEMPLATES["slicer"]["spec"]["templates"][0]["metrics"]["prometheus"]
    }
    names = {name.removesuffix("_bucket") for text in asks for name in re.findall(r"argo_\w+", text)}
    assert names == set(told), "an alert or a panel asks for what nobody tells, or shows less than there is"
    labels = {label["key"] for row in told.values() for label in row["labels"]} | {"le"}
    assert all(set(re.findall(r"\w+", by)) <= labels for text in asks for by in re.findall(r"by \(([^)]*)\)", text))


TOLD: Object = LEAST | {"hook": {"url": "https://ci.example.com/tuneline", "existingSecret": "tuneline-hook"}}


def test_nobody_is_told_of_an_end_until_the_values_say_whom() -> None:
    found = rendered(LEAST)
    assert not [one for one in found if one["metadata"]["name"] in ("hook", "tuneline-hook")]
    assert not [one for one in found if "hooks" in one.get("spec", {})]


def test_whoever_is_named_is_told_when_any_workflow_has_ended_and_no_stage_is_changed() -> None:
    before = {(one["kind"], one["metadata"]["name"]): one for one in rendered(LEAST)}
    after = {(one["kind"], one["metadata"]["name"]): one for one in rendered(TOLD)}
    new = {("WorkflowTemplate", "hook"), ("NetworkPolicy", "tuneline-hook")}
    assert after.keys() - before.keys() == new and before.keys() <= after.keys()
    graphs = {
        ("WorkflowTemplate", name) for name, one in TEMPLATES.items() if "container" not in one["spec"]["templates"][0]
    }
    assert {key for key in before if before[key] != after[key]} == graphs and len(graphs) == 4
    called = {"exit": {"templateRef": {"name": "hook", "template": "exit"}}}
    assert all(after[key]["spec"] == before[key]["spec"] | {"hooks": called} for key in graphs)
    names = [part["name"] for part in after["WorkflowTemplate", "hook"]["spec"]["templates"]]
    assert names == ["hook", "exit"]
    assert as_in_argo(after["WorkflowTemplate", "hook"]) == as_in_argo(TEMPLATES["hook"])


def test_the_pod_that_tells_is_restricted_reads_the_store_and_sees_its_own_secret_alone() -> None:
    found = rendered(
        TOLD
        | {"judge": {"existingSecret": "tuneline-judge"}, "store": LEAST["store"] | {"existingSecret": "tuneline-s3"}}
    )
    for one in found:
        check_schema(one)
    pod = pod_of("hook", found)
    check_schema(pod)
    assert refused_by_restricted(pod["spec"]) == [] and pod["spec"]["automountServiceAccountToken"] is False
    main = main_of(pod)
    assert main["image"] == main_of(pod_of("assessor", found))["image"]
    assert main["command"] == ["tini", "--", "python", "-m", "tuneline.commands.hook"]
    store = {("tuneline-s3", f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
    assert sources(main) == store | {("tuneline-hook", "HOOK_HEADER")}
    assert {"name": "HOOK_URL", "value": "https://ci.example.com/tuneline"} in main["env"]
    seen = {name: sources(main_of(pod_of(name, found))) for name in STAGES}
    assert not [name for name, keys in seen.items() if any(secret == "tuneline-hook" for secret, _ in keys)]
    policy = named(found, "NetworkPolicy", "tuneline-hook")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    lists = VALUES["networkPolicy"]["egress"]
    assert policy["ingress"] == [] and policy["egress"] == [*lists["dns"], *lists["apiServer"], *lists["store"]]
    part = named(found, "WorkflowTemplate", "hook")["spec"]["templates"][0]
    assert part["activeDeadlineSeconds"] == 300, "a hook that hangs would hold the workflow"


def test_an_address_that_is_a_secret_itself_is_read_from_the_secret() -> None:
    found = rendered(LEAST | {"hook": {"existingSecret": "tuneline-hook"}})
    keys = {key for secret, key in sources(main_of(pod_of("hook", found))) if secret == "tuneline-hook"}
    assert keys == {"HOOK_HEADER", "HOOK_URL"}


@pytest.mark.parametrize(
    "url", ["ftp://ci.example.com", "https://user:key@ci.example.com", "https://$(AWS_SECRET_ACCESS_KEY)", "x"]
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(url: str) -> None:
    with pytest.raises(helm_python.HelmError, match="/hook/url"):
        render(with_value("hook.url", url))


def test_rules_take_labels_by_which_they_are_selected_and_not_the_charts() -> None:
    with pytest.raises(helm_python.HelmError, match=r"app\.kubernetes\.io/name"):
        render(LEAST | {"monitoring": {"alertLabels": {"app.kubernetes.io/name": "x"}}})
