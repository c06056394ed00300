"""The demonstration on a cluster, as a user runs it."""

from __future__ import annotations

import json
import re
import time

import pytest
import yaml

from kit.clusters import TASKS, Cluster, Object, run, task_of
from kit.containers import DEMO, KEYS, output_hashes
from kit.places import ROOT
from tuneline.engine.records import Manifest

pytestmark = pytest.mark.timeout(1800)

REPEATABLE = ("assessor", "slicer", "trainer")
"""Stages that make the same bytes wherever they run."""


def seconds(status: Object) -> float:
    """How long a workflow, or one of its pods, took by Argo's record of it."""
    start, end = (time.mktime(time.strptime(status[at], "%Y-%m-%dT%H:%M:%SZ")) for at in ("startedAt", "finishedAt"))
    return end - start


def parameters(cluster: Cluster, name: str) -> dict[str, str]:
    """The workflow's output parameters."""
    rows = cluster.workflow(name)["status"]["outputs"]["parameters"]
    return {row["name"]: row["value"] for row in rows}


def made_in(cluster: Cluster, name: str) -> set[str]:
    """The tasks of a workflow that worked; the others found their results."""
    said = {task_of(node): cluster.log(node) for node in cluster.nodes(name)}
    assert "nothing is wrong" in said.pop("check")
    assert set(said) == set(TASKS)
    assert all(re.search(r"\b(found|made)\b", text) for text in said.values()), said
    return {task for task, text in said.items() if re.search(r"\bmade\b", text)}


def test_the_demonstration_ends_with_the_laptops_results(
    cluster: Cluster, demo: str, laptop: dict[str, Manifest]
) -> None:
    found = cluster.manifests("store", "demo")
    assert set(found) == set(TASKS.values())
    for node in REPEATABLE:
        assert found[node].fingerprint == laptop[node].fingerprint
        assert output_hashes(found[node]) == output_hashes(laptop[node])
    assert found["evaluator"].metrics.counts["verdict"] == laptop["evaluator"].metrics.counts["verdict"]
    outputs = parameters(cluster, demo)
    assert outputs["verdict"] == found["evaluator"].metrics.headline
    assert outputs["report"].startswith("s3://tuneline/store/results/evaluator/")
    assert outputs["report"].endswith(".html")
    assert "verdict" in cluster.report(demo)
    working = sum(manifest.seconds for manifest in laptop.values())
    whole = seconds(cluster.workflow(demo)["status"])
    print(f"\nwhole run: {whole:.0f} s; the stages' work on the laptop: {working:.0f} s")
    for task, node in TASKS.items():
        (pod,) = cluster.nodes(demo, task)
        print(f"{node}: pod {seconds(pod):.0f} s, work {found[node].seconds} s, "
              f"on the laptop {laptop[node].seconds} s")  # fmt: skip


def test_the_chart_can_test_its_store(cluster: Cluster) -> None:
    assert "Succeeded" in run("helm", "test", "tuneline", "-n", cluster.namespace)


def test_the_workflow_holds_neither_a_transcript_nor_a_secret(cluster: Cluster, demo: str) -> None:
    text = json.dumps(cluster.workflow(demo)) + json.dumps(cluster.get("workflowtaskresults"))
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in text
    said = [
        part["content"] if "content" in part else part["value"]
        for file in (ROOT / "examples/transcripts").rglob("*.jsonl")
        for row in map(json.loads, file.read_text().splitlines())
        for part in row.get("messages") or row.get("conversations") or []
    ]
    assert len(said) > 100
    assert not [sentence for sentence in said if len(sentence) > 20 and sentence in text]


def test_every_container_is_restricted_and_the_stage_has_no_token(cluster: Cluster, demo: str) -> None:
    pods = cluster.get("pods", "--selector", f"workflows.argoproj.io/workflow={demo}")["items"]
    assert len(pods) == len(TASKS) + 1  # the check
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["initContainers"], *spec["containers"]]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
        (main,) = [container for container in spec["containers"] if container["name"] == "main"]
        assert "/var/run/secrets/kubernetes.io/serviceaccount" not in [m["mountPath"] for m in main["volumeMounts"]]


def test_arguments_replace_nothing_of_a_pod_whose_template_is_the_entrypoint(cluster: Cluster, demo: str) -> None:
    theirs = {"image": "theirs:1", "podSpecPatch": '{"hostname": "theirs"}', "deadlineSeconds": "99", "store": "s3://theirs",
              "variant": "$(AWS_SECRET_ACCESS_KEY)", "inputs": "{}"}  # fmt: skip
    words = [word for name, value in theirs.items() for word in ("--parameter", f"{name}={value}")]
    submit = ("submit", "--from", "workflowtemplate/assessor", "--entrypoint", "assessor", "--output", "name")
    name = cluster.argo(*submit, *words).split()[-1]
    assert cluster.wait(name) == "Failed"
    assert "parameter image: unknown key" in cluster.report(name) and KEYS[
        "AWS_SECRET_ACCESS_KEY"
    ] not in cluster.report(name)
    (pod,) = cluster.get("pods", "--selector", f"workflows.argoproj.io/workflow={name}")["items"]
    assert "hostname" not in pod["spec"] and pod["spec"]["serviceAccountName"] == "tuneline"
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["activeDeadlineSeconds"] > 99
    (main,) = [container for container in pod["spec"]["containers"] if container["name"] == "main"]
    assert main["image"].startswith(f"{cluster.registry}/tuneline/assessor:") and main["args"] == ["run"]


def test_the_service_account_can_only_write_task_results(cluster: Cluster) -> None:
    who = f"--as=system:serviceaccount:{cluster.namespace}:tuneline"
    for verb, what in [("create", "workflowtaskresults"), ("patch", "workflowtaskresults")]:
        assert cluster.kubectl("auth", "can-i", verb, f"{what}.argoproj.io", who).strip() == "yes"
    listed = cluster.kubectl("auth", "can-i", "--list", "--no-headers", who)
    rows = [line.split() for line in listed.splitlines() if line.strip()]
    own = [row for row in rows if not row[0].startswith(("[", "selfsubject"))]
    assert [row[0] for row in own] == ["workflowtaskresults.argoproj.io"], listed
    assert "[create patch]" in listed


def test_a_resubmission_finds_everything_in_seconds(cluster: Cluster, demo: str) -> None:
    name = cluster.submit(cluster.upload("store"))
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert made_in(cluster, name) == set()
    assert parameters(cluster, name) == parameters(cluster, demo)
    print(f"\nresubmission: {seconds(cluster.workflow(name)['status']):.0f} s")


def test_a_changed_evaluator_parameter_in_a_new_run_makes_only_the_evaluator_work(cluster: Cluster, demo: str) -> None:
    evaluator = yaml.safe_load(DEMO.read_text())["evaluator"]
    name = cluster.submit(cluster.upload("store", run="again", evaluator=evaluator | {"seed": 1}))
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert made_in(cluster, name) == {"evaluator"}


def test_a_bad_parameter_fails_in_the_first_pod_and_says_why(cluster: Cluster, demo: str) -> None:
    trainer = yaml.safe_load(DEMO.read_text())["trainer"]
    good = cluster.upload("store", run=None)
    file = cluster.folder / "bad.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(good.read_text()) | {"trainer": trainer | {"learning_rate": -1}}))
    name = cluster.submit(file)
    assert cluster.wait(name) == "Failed"
    tried = cluster.nodes(name)
    assert {task_of(node) for node in tried} == {"check"}
    assert all(node["name"].endswith("(0)") and node["outputs"]["exitCode"] == "2" for node in tried)
    assert "parameter trainer: learning_rate" in cluster.report(name)


def test_mistakes_of_several_stages_are_one_message_of_the_first_pod(cluster: Cluster, demo: str) -> None:
    good = yaml.safe_load(cluster.upload("store", run=None).read_text())
    file = cluster.folder / "mistakes.yaml"
    judge = {"provider": "openai", "model": "m", "api_key_env": "JUDGE_ABSENT_KEY"}
    file.write_text(
        yaml.safe_dump(good | {"inputs": good["inputs"] | {"judge": judge}, "slicer": {"validation_fraction": 0.001}})
    )
    name = cluster.submit(file)
    assert cluster.wait(name) == "Failed"
    [tried] = cluster.nodes(name)
    assert task_of(tried) == "check" and tried["outputs"]["exitCode"] == "2"
    said = cluster.log(tried)
    assert "parameter inputs: judge: JUDGE_ABSENT_KEY is not set" in said
    assert "parameter slicer: validation_fraction: " in said


def test_a_gate_that_says_no_fails_the_workflow_with_3_at_once_and_all_is_there_to_look_at(
    cluster: Cluster, demo: str
) -> None:
    before = cluster.prometheus()
    good = yaml.safe_load(cluster.upload("store", run="gated").read_text())
    file = cluster.folder / "gated.yaml"
    base_twice = good["inputs"] | {"model": "output:gguf-converter@base/model"}
    file.write_text(yaml.safe_dump(good | {"inputs": base_twice, "gate": {"require": "better"}}))
    name = cluster.submit(file)
    assert cluster.wait(name) == "Failed"
    [said_no] = cluster.nodes(name, "evaluator")
    assert said_no["outputs"]["exitCode"] == "3" and "exit code 3" in cluster.report(name)
    assert "Gate: no" in cluster.log(said_no)
    assert parameters(cluster, name)["report"].endswith(".html") and "gated" in cluster.report(name)
    assert cluster.manifests("store", "gated")["evaluator"].metrics.counts["verdict"] != "better"
    after = cluster.prometheus()
    told = {key: value - before.get(key, 0) for key, value in after.items() if "_seconds" not in key}
    assert told['stages_total{stage="evaluator",status="Failed"}'] == 1
    assert sum(value for key, value in told.items() if key.startswith("verdicts_total")) == 1


def test_pods_that_are_deleted_in_the_middle_of_each_stage_change_nothing(
    cluster: Cluster, demo: str, laptop: dict[str, Manifest]
) -> None:
    name = cluster.submit(cluster.upload("deleted"), prefix="deleted")
    pods: dict[str, set[str]] = {task: set() for task in TASKS}
    while not cluster.workflow(name).get("status", {}).get("finishedAt"):
        for pod in cluster.get("pods", "--selector", f"workflows.argoproj.io/workflow={name}")["items"]:
            task = task_of({"name": pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]})
            states = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses", ())}
            if task not in pods:
                continue  # the check
            first = not pods[task]
            if "running" in states.get("main", {}):
                pods[task].add(pod["metadata"]["uid"])
            if first and pods[task]:
                quick = task in ("assessor", "slicer", "evaluator")  # done in seconds: no time to lose, none to give
                time.sleep(0 if quick else 4)
                cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", f"--now={quick}".lower())
        time.sleep(0.2)
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    again = [task for task in TASKS if len(pods[task]) > 1]
    print(f"\nstarted again: {', '.join(again)}")
    assert len(again) >= len(TASKS) - 1  # the assessor takes two seconds: it may have been done when its pod went
    found = cluster.manifests("deleted", "demo")
    for node in REPEATABLE:
        assert output_hashes(found[node]) == output_hashes(laptop[node])
    assert found["evaluator"].metrics.counts["verdict"] == laptop["evaluator"].metrics.counts["verdict"]


def test_a_terminated_run_goes_on_with_argo_retry(cluster: Cluster, demo: str, laptop: dict[str, Manifest]) -> None:
    trainer = yaml.safe_load(DEMO.read_text())["trainer"]
    file = cluster.upload("ended", goal="trainer", trainer=trainer | {"epochs": 5})
    name = cluster.submit(file, prefix="ended")
    while not [n for n in cluster.nodes(name, "trainer") if n["phase"] == "Running"]:
        time.sleep(1)
    while (cluster.step("ended", "demo", "trainer").done or 0) <= trainer.get("save_steps", 10):
        time.sleep(1)
    cluster.argo("terminate", name)
    assert cluster.wait(name) == "Failed"
    cluster.argo("retry", name)
    time.sleep(2)
    assert cluster.wait(name) == "Succeeded", cluster.report(name)
    assert cluster.manifests("ended", "demo")["trainer"].metrics.counts["resumed_from_step"]


def test_install_yaml_is_accepted_as_it_is(cluster: Cluster) -> None:
    text = (ROOT / "k8s/install.yaml").read_text()
    found = [one for one in yaml.safe_load_all(text) if one]
    for one in found:
        if one["kind"] != "Namespace":
            one["metadata"]["namespace"] = cluster.namespace
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-",
                    text=yaml.safe_dump_all(one for one in found if one["kind"] != "Namespace"))  # fmt: skip
