"""What makes two results the same: the fingerprint of a stage, its parameters and its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tuneline.stage import Params, Part


def fingerprint(stage: str, version: int, params: Params, inputs: Mapping[str, str], shard: Part | None = None) -> str:
    """Return the identity of a result, 64 hex digits.

    It is the sha256 of the stage's name and version, the parameters that differ from their defaults (without those of
    pace), the sha256 of every input and the shard, if it is one, as canonical JSON.
    """
    identity = {"stage": stage, "version": version, "params": identity_params(params), "inputs": dict(inputs)}
    if shard is not None:
        identity["shard"] = str(shard)
    return sha256_json(identity)


def identity_params(params: BaseModel) -> dict[str, Any]:
    """Return the parameters that differ from their defaults and are not of pace, nested models included."""
    kept = params.model_dump(mode="json", exclude_defaults=True)
    for name, info in type(params).model_fields.items():
        if _is_pace(info):
            kept.pop(name, None)
        value = getattr(params, name)
        if name in kept and isinstance(value, BaseModel):
            kept[name] = identity_params(value)
    return {name: value for name, value in kept.items() if value != {}}


def is_pace(model: type[BaseModel], name: str) -> bool:
    """Tell whether the parameter `name` (dotted for a nested one) is one of pace."""
    for part in name.split("."):
        info = model.model_fields.get(part)
        if info is None:
            return False
        if _is_pace(info):
            return True
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            model = info.annotation
    return False


def _is_pace(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("pace"))


def sha256_json(value: Any) -> str:
    """Return the sha256 of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return a JSON value with sorted keys and no spaces, so that equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def folder_sha256(digests: Mapping[str, str]) -> str:
    """Return the identity of a folder from the SHA-256 of each file by name, as sha256sum prints them, sorted."""
    lines = sorted(f"{sha256}  {name}\n".encode() for name, sha256 in digests.items())
    return hashlib.sha256(b"".join(lines)).hexdigest()
