"""What Argo Workflows makes of a run file, from `argo submit --parameter-file` to the variable RUN_FILE of a stage."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import yaml


def as_parameters(text: str, *more: tuple[str, str | None]) -> str:
    """Return the value of RUN_FILE for a run file; `more` are parameters that stand behind its own."""
    own = [(name, _value(value)) for name, value in yaml.safe_load(text).items()]
    return encode([{"name": name, "value": value} for name, value in [*own, *more] if value is not None])


def encode(rows: Any) -> str:
    return b64encode(json.dumps(rows).encode()).decode()


def _value(value: Any) -> str:
    """Text as it is, all else as Go writes JSON: no spaces, 2.0 as 2, `<`, `>` and `&` as escapes."""
    if isinstance(value, str):
        return value
    text = json.dumps(_as_go(value), separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _as_go(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_go(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_as_go(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
