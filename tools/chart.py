"""Writes what follows from the chart: values.schema.json and k8s/install.yaml; with --check, says what is stale.

The schema is made of values.yaml: its structure is closed, the comment above a key is the key's description, and its
default gives its type. Where it cannot, `TYPES` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tuneline.llm.keys import ROLES, VENDORS
from tuneline.stage import installed_stages

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "tuneline"
Schema = dict[str, Any]


def _closed(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


TEXT: Schema = {"type": "string"}
NUMBER = r"[0-9]+([.][0-9]*)?(m|k|[MGTPE]|[KMGTPE]i)?"
QUANTITY: Schema = {"type": ["string", "number"], "pattern": f"^{NUMBER}$"}
RESOURCES = _map(QUANTITY) | {
    "propertyNames": {"pattern": r"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|[a-z0-9.-]+/[A-Za-z0-9._-]+)$"}
}
"""Of another name Kubernetes takes the template, and then no pod."""
SECONDS: Schema = {"type": "integer", "minimum": 1}
EXPRESSION = _closed(key=TEXT, operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}, values=_list(TEXT))
SELECTOR = _closed(matchLabels=_map(TEXT), matchExpressions=_list(EXPRESSION))
PEER = _closed(
    podSelector=SELECTOR, namespaceSelector=SELECTOR, ipBlock=_closed(**{"cidr": TEXT, "except": _list(TEXT)})
)
PORT = _closed(
    port={"type": ["integer", "string"]}, endPort={"type": "integer"}, protocol={"enum": ["TCP", "UDP", "SCTP"]}
)
RULES = _list(_closed(to=_list(PEER), ports=_list(PORT)))
TOLERATION = _closed(
    key=TEXT,
    operator={"enum": ["Exists", "Equal"]},
    value=TEXT,
    effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
    tolerationSeconds={"type": "integer"},
)

NAME: Schema = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
"""The name of an object, or nothing."""

VARIABLES = (
    "HTTPS_PROXY|HTTP_PROXY|NO_PROXY|HF_ENDPOINT"
    "|HF_HUB_(OFFLINE|DISABLE_TELEMETRY|DISABLE_XET|DOWNLOAD_TIMEOUT|ETAG_TIMEOUT)"
    "|AWS_(MAX_ATTEMPTS|RETRY_MODE|STS_REGIONAL_ENDPOINTS)"
    "|OMP_NUM_THREADS|MKL_NUM_THREADS|OPENBLAS_NUM_THREADS|TOKENIZERS_PARALLELISM"
    "|CUDA_VISIBLE_DEVICES|PYTORCH_ALLOC_CONF|PYTORCH_CUDA_ALLOC_CONF|TZ"
)
"""Variables that carry no secret, load no code and change neither store nor identity."""

TRACKING = "MLFLOW_(TRACKING_URI|EXPERIMENT_NAME)|WANDB_(BASE_URL|ENTITY|PROJECT)|TRACKIO_SERVER_URL"
"""Variables that say where a tracker's figures go, on a server: a pod has no folder that outlives it."""

MODEL_KEY = (
    f"^([A-Z0-9_]+_)?(({'|'.join(VENDORS)})_([A-Z0-9_]+_)?API_KEY|({'|'.join(ROLES)})(_[A-Z0-9_]+)?_(KEY|TOKEN))$"
)
OTHER_KEY = (
    "(^|_)(AWS|S3|MINIO|HF|HUGGING_?FACE(HUB)?|GITHUB|GH|GITLAB|CI|KUBE[A-Z0-9]*|K8S|ARGO[A-Z0-9]*|DOCKER|TUNELINE)_"
)
"""Names that `api_key_env` of a run file takes, as tuneline.llm.config says them; a test compares the two."""

RESERVED = r"^([^/]*\.)?(kubernetes|k8s)\.io/|^helm\.sh/|^workflows\.argoproj\.io/|^kueue\.x-k8s\.io/"
"""Labels that the chart, Helm, Argo or Kueue decide by."""

LABEL: Schema = {"type": "string", "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", "maxLength": 63}

STAGE: Schema = {"$ref": "#/definitions/stage"}

TYPES: Mapping[str, Schema] = {
    "store.uri": {"type": "string", "pattern": r"^s3://[a-z0-9][a-z0-9.-]+(/[^\s{}$]*)?$"},
    "store.region": {"type": "string", "pattern": "^[a-z0-9-]+$"},
    "store.endpoint": {"type": "string", "pattern": r"^(https?://[^\s@{}$]+)?$"},
    "store.existingSecret": NAME,
    "judge.existingSecret": NAME,
    "judge.keys": _list({"type": "string", "pattern": MODEL_KEY, "not": {"pattern": OTHER_KEY}}),
    "hub.existingSecret": NAME,
    "publish.existingSecret": NAME,
    "hub.cacheClaim": NAME,
    "tracking.existingSecret": NAME,
    "tracking.env": _map(TEXT | {"pattern": "^[^@]*$"}) | {"propertyNames": {"pattern": f"^({TRACKING})$"}},
    # A host without a dot or a port would be a name on Docker Hub, where anybody may own it.
    "image.registry": {
        "type": "string",
        "pattern": "^(localhost|[a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+)(/[a-z0-9._-]+)*$",
    },
    "hook.url": {"type": "string", "pattern": r"^(https?://[^\s@{}$]+)?$"},
    "hook.existingSecret": NAME,
    "image.repository": {"type": "string", "pattern": "^[a-z0-9._-]+(/[a-z0-9._-]+)*$"},
    "image.tag": {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$"},
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.pullSecrets": _list(NAME | {"minLength": 1}),
    "caBundle.configMap": NAME,
    "caBundle.key": {"type": "string", "pattern": "^[-._A-Za-z0-9]+$"},
    # The address of a proxy or mirror may hold a password; it would stand in a ConfigMap.
    "env": _map(TEXT | {"pattern": "^[^@]*$"}) | {"propertyNames": {"pattern": f"^({VARIABLES})$"}},
    "labels": _map(LABEL) | {"propertyNames": {"not": {"pattern": RESERVED}}},
    "queueName": LABEL,
    "monitoring.alertLabels": _map(LABEL) | {"propertyNames": {"not": {"pattern": RESERVED}}},
    "fsGroup": {"type": ["integer", "null"]},
    "serviceAccount.annotations": _map(TEXT),
    **{
        f"networkPolicy.egress.{peer}": {"$ref": "#/definitions/rules"}
        for peer in ("dns", "apiServer", "store", "hub", "judge", "tracking", "hook")
    },
    "stageDefaults.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "stageDefaults.gpu": {"type": "integer", "minimum": 0},
    "stageDefaults.gpuDigest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "stageDefaults.reaches": _list({"enum": ["hub", "judge", "hook"]}),
    "stageDefaults.resources.requests": RESOURCES,
    "stageDefaults.resources.limits": RESOURCES,
    "stageDefaults.scratch.size": QUANTITY,
    "stageDefaults.scratch.storageClass": NAME,
    "stageDefaults.tmpSize": QUANTITY,
    "stageDefaults.shmSize": QUANTITY | {"pattern": f"^({NUMBER})?$"},
    "stageDefaults.priorityClassName": NAME,
    "stageDefaults.runtimeClassName": NAME,
    "stageDefaults.deadlineSeconds": SECONDS,
    "stageDefaults.graceSeconds": SECONDS | {"minimum": 25},
    "stageDefaults.nodeSelector": _map(LABEL),
    "stageDefaults.tolerations": _list(TOLERATION),
}


def values_schema() -> str:
    """Return the schema of values.yaml."""
    text = (CHART / "values.yaml").read_text()
    lines, node = text.splitlines(), yaml.compose(text)
    assert isinstance(node, yaml.MappingNode)
    schema = _of(node, lines, "")
    properties = schema["properties"]
    defaults = properties.pop("stageDefaults")
    stages = properties["stages"]["properties"]
    needed = {"required": sorted(defaults["properties"])}
    properties["stageDefaults"] = _described(defaults["description"], STAGE) | needed
    named = {name: {"description": f"The stage {name}."} for name in sorted(installed_stages())} | stages
    properties["stages"]["properties"] = {n: _described(stage["description"], STAGE) for n, stage in named.items()}
    # Helm itself adds `global` where a chart is part of another one.
    properties["global"] = {"type": "object", "description": "Nothing here; Helm gives it to a chart in a chart."}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart tuneline"}
    return (
        json.dumps(head | schema | {"definitions": {"stage": defaults, "rules": RULES}}, indent=1, ensure_ascii=False)
        + "\n"
    )


def _described(description: str, schema: Schema) -> Schema:
    # In this draft a reference hides what stands beside it.
    return {"description": description} | ({"allOf": [schema]} if "$ref" in schema else schema)


def _of(node: yaml.MappingNode, lines: list[str], prefix: str) -> Schema:
    properties = {}
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        properties[key.value] = _described(_sentence(lines, key.start_mark.line), _type(value, lines, path))
    if prefix.startswith(("stageDefaults.", "stages.")):
        return _closed(**properties)
    # A `null` in somebody's values takes a key away.
    needed = sorted(key.value for key, value in node.value if not value.tag.endswith(":null"))
    return _closed(**properties) | {"required": needed}


def _type(node: yaml.Node, lines: list[str], path: str) -> Schema:
    if path in TYPES:
        return TYPES[path]
    if isinstance(node, yaml.MappingNode) and path.startswith("stages."):
        return {}
    if isinstance(node, yaml.MappingNode) and node.value:
        return _of(node, lines, f"{path}.")
    kinds = {"str": "string", "bool": "boolean", "int": "integer"}
    kind = kinds.get(node.tag.rpartition(":")[2])
    if kind is None:
        raise SystemExit(f"values.yaml: the default of {path} does not give its type; add it to TYPES")
    return {"type": kind}


def _sentence(lines: list[str], number: int) -> str:
    above = number
    while above and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    if above == number:
        raise SystemExit(f"values.yaml:{number + 1}: put a sentence above this key")
    return " ".join(line.lstrip("# ") for line in lines[above:number])


def install_yaml() -> str:
    """Return the chart as it is installed into a cluster of one's own, after its namespace."""
    values = CHART / "ci" / "laptop-values.yaml"
    parts = {k: v for k, v in render(yaml.safe_load(values.read_text())).items() if "/tests/" not in k}
    head = (
        "# Made by `make format` of helm/tuneline and its ci/laptop-values.yaml; k8s/README.md says what to change.\n"
    )
    namespace = (ROOT / "k8s" / "namespace.yaml").read_text()
    return head + "---\n".join([namespace, *(part.strip().removeprefix("---\n") + "\n" for part in parts.values())])


def render(values: Mapping[str, Any], namespace: str = "tuneline") -> dict[str, str]:
    """Return the chart's manifests by template. Raises helm_python.HelmError for values that the schema refuses."""
    helm_python.disable_logging()
    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(dict(values))
        rendered = chart.render(dict(values), name="tuneline", namespace=namespace)
    return {name: text for name, text in rendered.items() if name.endswith(".yaml") and text.strip()}


def main() -> int:
    """Write the files, or compare them. The schema comes first: the rendering obeys it."""
    stale = []
    for place, make in ((CHART / "values.schema.json", values_schema), (ROOT / "k8s" / "install.yaml", install_yaml)):
        text = make()
        if "--check" not in sys.argv:
            place.write_text(text)
        elif not place.exists() or place.read_text() != text:
            stale.append(place.relative_to(ROOT))
    for path in stale:
        print(f"{path} is not up to date: run `make format`")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
