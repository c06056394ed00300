"""What tests do with Kubernetes manifests and workflow templates: read them, render the chart, put a pod together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from chart import CHART, render
from kit.places import ROOT

Object = dict[str, Any]
TEMPLATES: dict[str, Object] = {p.stem: yaml.safe_load(p.read_text()) for p in sorted((ROOT / "argo").glob("*.yaml"))}
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34"

# Lists that a strategic merge patch of a pod merges, and the key that tells their elements apart.
_MERGED = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}


def reached_by(stage: str) -> list[str]:
    """Return what a stage may reach besides the store, by the chart's values: hub, judge."""
    reaches: list[str] = VALUES["stages"].get(stage, {}).get("reaches", VALUES["stageDefaults"]["reaches"])
    return reaches


def objects(text: str) -> list[Object]:
    """Return the objects of a YAML text."""
    return [one for one in yaml.safe_load_all(text) if one]


def rendered(values: Path | Mapping[str, Any]) -> list[Object]:
    """Return the objects that the chart makes of values or of a file with them."""
    content = yaml.safe_load(values.read_text()) if isinstance(values, Path) else values
    return [one for text in render(content).values() for one in objects(text)]


def named(found: list[Object], kind: str, name: str) -> Object:
    return next(one for one in found if one["kind"] == kind and one["metadata"]["name"] == name)


def check_schema(one: Object) -> None:
    """Raise if Kubernetes would refuse `one`. Workflow templates are `argo lint`'s."""
    if one["kind"] != "WorkflowTemplate":
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def pod_of(stage: str, found: list[Object]) -> Object:
    """Return the pod that Argo makes for `stage` of the workflow templates in `found`."""
    spec = named(found, "WorkflowTemplate", stage)["spec"]
    template = spec["templates"][0]
    pod = {
        "serviceAccountName": spec["serviceAccountName"],
        "securityContext": spec["securityContext"],
        "initContainers": [{"name": "init", "image": "argoexec"}],
        "containers": [{"name": "wait", "image": "argoexec"}, {"name": "main"} | template["container"]],
        "volumes": template["volumes"],
    }
    for patch in (spec["podSpecPatch"], template["podSpecPatch"]):
        pod = patched(pod, yaml.safe_load(patch))
    labels = template["metadata"]["labels"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": stage, "labels": labels}, "spec": pod}


def patched(old: Any, patch: Any, key: str = "") -> Any:
    """Apply a strategic merge patch."""
    if isinstance(old, dict) and isinstance(patch, dict):
        merged = old | {name: patched(old.get(name), value, name) for name, value in patch.items()}
        return {name: value for name, value in merged.items() if value is not None}
    if isinstance(old, list) and (unique := _MERGED.get(key)):
        rows = {row[unique]: row for row in old}
        return list((rows | {row[unique]: patched(rows.get(row[unique], {}), row) for row in patch}).values())
    return patch


def refused_by_restricted(pod: Object) -> list[str]:
    """Say what Pod Security `restricted` has against a pod spec."""
    problems = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    allowed = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    problems += [f"volume {v['name']}" for v in pod["volumes"] if not v.keys() - {"name"} <= allowed]
    whole = pod["securityContext"]
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        context = whole | container.get("securityContext", {})
        fine = (
            context.get("runAsNonRoot") is True
            and context.get("runAsUser") != 0
            and context.get("seccompProfile", {}).get("type") == "RuntimeDefault"
            and context.get("allowPrivilegeEscalation") is False
            and context.get("capabilities") == {"drop": ["ALL"]}
            and not context.get("privileged")
        )
        problems += [] if fine else [f"container {container['name']}: {context}"]
    return problems


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Evaluate an expression of Argo (expr-lang), as far as argo/ uses that language."""
    *lets, result = expression.split(";")
    scope = dict(variables)
    for let in lets:
        name, _, value = let.strip().removeprefix("let ").partition(" = ")
        scope[name] = _python(value)(scope)
    return _python(result)(scope)


def _python(expression: str) -> Callable[[Mapping[str, Any]], Any]:
    text = re.sub(r"([\w.]+) matches (\"[^\"]*\")", r"bool(re.search(\2, \1))", expression)
    text = re.sub(
        r"any\((\[.*?\]), string\(#\) startsWith (\"[^\"]*\")\)", r"any(str(p).startswith(\2) for p in \1)", text
    )
    text = re.sub(r"([\w.]+) contains (\"[^\"]*\")", r"(\2 in \1)", text)
    text = text.replace("&&", " and ").replace("||", " or ").replace("!(", " not (").replace("nil", "None")
    code = compile(" ".join(text.split()), expression, "eval")
    return lambda scope: eval(code, {"re": re}, dict(scope))
