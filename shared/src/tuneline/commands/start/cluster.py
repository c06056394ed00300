"""Looks at a namespace of a cluster through kubectl: Argo, the chart's templates, secrets, quotas and Pod Security.

It changes nothing: the one pod that it names is a dry run, which the API server judges and forgets. Of a secret it
takes the names of the keys and never a value.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tuneline.commands.start.doctor import Finding

SECONDS = 30.0
TESTED = (3, 7)
"""Version of Argo Workflows that the workflows were run on."""
KINDS = ("workflows", "workflowtemplates", "workflowtaskresults")
UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


class _Loose(BaseModel):
    """A part of an object of Kubernetes, whose other fields are not ours."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class _Ref(_Loose):
    name: str
    key: str
    optional: bool = False


class _From(_Loose):
    secret: _Ref | None = Field(default=None, alias="secretKeyRef")


class _Env(_Loose):
    source: _From | None = Field(default=None, alias="valueFrom")


class _Resources(_Loose):
    requests: dict[str, str | int | float] = Field(default_factory=dict)
    limits: dict[str, str | int | float] = Field(default_factory=dict)


class _Container(_Loose):
    image: str
    env: list[_Env] = Field(default_factory=list)
    resources: _Resources = _Resources()
    security: dict[str, JsonValue] = Field(default_factory=dict, alias="securityContext")


class _Patched(_Loose):
    name: str
    env: list[_Env] = Field(default_factory=list)
    resources: _Resources = _Resources()


class _Patch(_Loose):
    containers: list[_Patched] = Field(default_factory=list)


class _Template(_Loose):
    name: str
    container: _Container | None = None
    patch: str = Field(default="{}", alias="podSpecPatch")

    @property
    def patched(self) -> _Container | None:
        """The stage's container with the environment and resources that the chart gives it."""
        if self.container is None:
            return None
        try:
            found = _Patch.model_validate(yaml.safe_load(self.patch))
        except (yaml.YAMLError, ValidationError):
            return self.container  # somebody's own patch, perhaps with parameters of Argo
        mains = [one for one in found.containers if one.name == "main"]
        return self.container.model_copy(update={"env": mains[0].env, "resources": mains[0].resources} if mains else {})


class _TemplateSpec(_Loose):
    templates: list[_Template] = Field(default_factory=list)
    security: dict[str, JsonValue] = Field(default_factory=dict, alias="securityContext")


class _WorkflowTemplate(_Loose):
    spec: _TemplateSpec


class _Templates(_Loose):
    items: list[_WorkflowTemplate]


class _QuotaStatus(_Loose):
    hard: dict[str, str] = Field(default_factory=dict)
    used: dict[str, str] = Field(default_factory=dict)


class _Quota(_Loose):
    status: _QuotaStatus = _QuotaStatus()


class _Quotas(_Loose):
    items: list[_Quota]


_Listed = TypeVar("_Listed", _Templates, _Quotas)


def look_at_cluster(namespace: str) -> Iterator[Finding]:
    """Yield what was found, and nothing more where no cluster answers."""
    if shutil.which("kubectl") is None:
        yield Finding("cluster", "wrong", "kubectl is not on PATH: install it, and point KUBECONFIG at the cluster")
        return
    code, said = _kubectl("get", "--raw", "/version")
    if code:
        yield Finding("cluster", "wrong", f"no cluster answers kubectl: {_line(said)}")
        return
    version = re.search(r'"gitVersion":\s*"(v[\w.+-]+)"', said)
    yield Finding("cluster", "fine", f"Kubernetes {version[1] if version else 'of an unknown version'}")
    yield _argo_kinds()
    yield _argo_version()
    templates = _read(_Templates, "/apis/argoproj.io/v1alpha1", namespace, "workflowtemplates")
    if isinstance(templates, str) or not (stages := _stages(templates)):
        text = templates if isinstance(templates, str) else f"none in the namespace {namespace}: install the chart"
        yield Finding("templates", "wrong", text)
        return
    yield Finding("templates", "fine", f"{len(templates.items)} in the namespace {namespace}")
    containers = [container for _, container in stages]
    yield from _secrets(namespace, containers)
    yield _quota(namespace, containers)
    yield _pod_security(namespace, *stages[0])


def _stages(templates: _Templates) -> list[tuple[_TemplateSpec, _Container]]:
    """Return each stage's container with the template that it stands in."""
    specs = (item.spec for item in templates.items)
    return [(spec, container) for spec in specs for one in spec.templates if (container := one.patched)]


def _kubectl(*words: str, given: str | None = None) -> tuple[int, str]:
    try:
        done = subprocess.run(
            ["kubectl", "--request-timeout=20s", *words], input=given, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        return 1, f"kubectl did not answer ({type(e).__name__})"
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def _line(said: str) -> str:
    return " ".join(said.strip().splitlines()[-1:]) or "it says nothing"


def _read(kind: type[_Listed], group: str, namespace: str, name: str) -> _Listed | str:
    code, said = _kubectl("get", "--raw", f"{group}/namespaces/{namespace}/{name}")
    if code:
        return f"{name} cannot be listed: {_line(said)}"
    try:
        return kind.model_validate_json(said)
    except ValidationError as e:
        return f"{name} are not in a form that is known ({e.error_count()} problems)"


def _argo_kinds() -> Finding:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    missing = [kind for kind in KINDS if _kubectl("get", "--raw", f"{path}/{kind}.argoproj.io")[0]]
    if missing:
        return Finding("Argo", "wrong", f"no definition of {', '.join(missing)} can be read: install Argo Workflows")
    return Finding("Argo", "fine", f"defines {', '.join(KINDS)}")


def _argo_version() -> Finding:
    code, said = _kubectl("get", "--raw", "/apis/apps/v1/deployments")
    if code:
        return Finding("Argo version", "note", f"its controller cannot be seen: {_line(said)}")
    found = re.search(r"workflow-controller:v?(\d+)\.(\d+)\.(\d+)", said)
    if not found:
        return Finding("Argo version", "note", "no controller with a version is among the deployments")
    version = int(found[1]), int(found[2])
    text = f"{found[1]}.{found[2]}.{found[3]}; the workflows were run on {TESTED[0]}.{TESTED[1]}"
    return Finding("Argo version", "fine" if version >= TESTED else "note", text)


def _secrets(namespace: str, containers: list[_Container]) -> Iterator[Finding]:
    """Compare the keys that the templates read with those that are there; values stay inside kubectl."""
    read: dict[str, set[str]] = {}
    for ref in (e.source.secret for c in containers for e in c.env if e.source and e.source.secret):
        read.setdefault(ref.name, set()).update([] if ref.optional else [ref.key])
    names = "{{range $key, $value := .data}}{{$key}} {{end}}"
    for name, needed in sorted(read.items()):
        code, said = _kubectl("get", "secret", name, "--namespace", namespace, "--output", f"go-template={names}")
        if code:
            yield Finding(f"secret {name}", "wrong", f"cannot be read: {_line(said)}")
        elif missing := sorted(needed - set(said.split())):
            yield Finding(f"secret {name}", "wrong", f"has no {', '.join(missing)}")
        else:
            yield Finding(f"secret {name}", "fine", f"has {', '.join(sorted(said.split())) or 'no key'}")


def _quota(namespace: str, containers: list[_Container]) -> Finding:
    quotas = _read(_Quotas, "/api/v1", namespace, "resourcequotas")
    if isinstance(quotas, str):
        return Finding("quota", "note", quotas)
    asked = {
        f"{side}.{name}": max((amount(of[name]) for of in sides if name in of), default=0.0)
        for side, sides in (("requests", [c.resources.requests for c in containers]),
                            ("limits", [c.resources.limits for c in containers]))
        for name in ("cpu", "memory", "nvidia.com/gpu")
    }  # fmt: skip
    short = [
        f"{name}: a stage asks for {_plain(name, most)}; {_plain(name, left)} of {_plain(name, amount(hard))} are left"
        for quota in quotas.items
        for name, hard in quota.status.hard.items()
        if (most := asked.get(name, asked.get(f"requests.{name}", 0.0)))
        > (left := amount(hard) - amount(quota.status.used.get(name, "0")))
    ]
    if short:
        return Finding("quota", "wrong", "; ".join(short))
    return Finding("quota", "fine", "leaves room for the largest stage" if quotas.items else "none in the namespace")


def _plain(name: str, number: float) -> str:
    return f"{number / UNITS['Gi']:g} GiB" if "memory" in name else f"{number:g}"


def amount(quantity: str | float) -> float:
    """Return a quantity of Kubernetes, such as 500m or 4Gi, as a number; one that is none counts as 0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(quantity))
    return float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else 0.0


def _pod_security(namespace: str, spec: _TemplateSpec, container: _Container) -> Finding:
    """Ask the API server whether it would take a stage's pod."""
    main: dict[str, object] = {"name": "main", "image": container.image, "securityContext": container.security}
    main["resources"] = container.resources.model_dump()
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "tuneline-doctor-", "namespace": namespace},
        "spec": {"containers": [main], "securityContext": spec.security, "automountServiceAccountToken": False},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    code, said = _kubectl("create", "--raw", path, "--filename", "-", given=json.dumps(pod))
    if code:
        return Finding("a stage's pod", "wrong", f"is not taken: {_line(said)}")
    return Finding("a stage's pod", "fine", "is taken (a dry run)")
