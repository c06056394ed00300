"""Writes what follows from the chart: values.schema.json and k8s/install.yaml; with --check, says what is stale.

The schema is made of values.yaml: its structure is closed, the comment above a key is the key's description, and its
default tells its type. Where it cannot, `TYPES` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

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
QUANTITY: Schema = {"type": ["string", "number"], "pattern": r"^[0-9.]+(m|[kKMGTPE]i?)?$"}
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

SECRET = "KEY|TOKEN|SECRET|PASSWORD"
"""What the name of a variable with a secret has in it; such a variable comes from a Secret, never from values."""

STAGE: Schema = {"$ref": "#/definitions/stage"}

TYPES: Mapping[str, Schema] = {
    "store.uri": {"type": "string", "pattern": "^s3://[^/]+"},
    "store.endpoint": {"type": "string", "pattern": "^(https?://.+)?$"},
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "image.pullSecrets": _list(TEXT),
    "env": _map(TEXT) | {"propertyNames": {"pattern": "^[A-Z_][A-Z0-9_]*$", "not": {"pattern": SECRET}}},
    "labels": _map(TEXT),
    "fsGroup": {"type": ["integer", "null"]},
    "serviceAccount.annotations": _map(TEXT),
    **{
        f"networkPolicy.egress.{peer}": {"$ref": "#/definitions/rules"}
        for peer in ("dns", "apiServer", "store", "hub", "judge")
    },
    "stageDefaults.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "stageDefaults.reaches": _list({"enum": ["hub", "judge"]}),
    "stageDefaults.resources.requests": _map(QUANTITY),
    "stageDefaults.resources.limits": _map(QUANTITY),
    "stageDefaults.scratch.size": QUANTITY,
    "stageDefaults.tmpSize": QUANTITY,
    "stageDefaults.deadlineSeconds": SECONDS,
    "stageDefaults.graceSeconds": SECONDS | {"minimum": 25},
    "stageDefaults.nodeSelector": _map(TEXT),
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
    properties["stageDefaults"] = _described(defaults["description"], STAGE)
    properties["stages"]["properties"] = {n: _described(stage["description"], STAGE) for n, stage in stages.items()}
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
    return _closed(**properties)


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
        raise SystemExit(f"values.yaml: the default of {path} does not tell its type; add it to TYPES")
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
        "# Made by `make format` of helm/tuneline and its ci/laptop-values.yaml; k8s/README.md tells what to change.\n"
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
