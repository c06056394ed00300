"""The records of a store, and where they lie.

A store holds immutable results, found by their fingerprint, and runs that pin them::

    <store>/
    ├── results/<stage>/<fingerprint>/
    │   ├── manifest.json                 written last and once; its existence means that the result is complete
    │   ├── <attempt>/<port>…             the files that the manifest lists
    │   └── state/index.json, <attempt>/… checkpoints of a result in the making
    ├── journals/<stage>/<scope>/<attempt>-<n>.jsonl    paid items, in write-once segments
    ├── inputs/<name>-<hash of the URI>.json            what a given URI held when it was last read
    ├── uploads/<name>-<hash>/…, <name>-<hash>.json     local inputs that `tuneline upload` put here; when it last did
    └── runs/<run>/
        ├── inputs/<name>.json            pins: which bytes a given input held
        ├── <stage>.json                  pins: which result a stage has in this run
        ├── failed/<stage>-<attempt>.json what went wrong, when it went wrong during work
        └── logs/<stage>.log, <stage>/<port>                on a file store only: the last log, and links to the outputs

Only pins may ever change. Deleting a run folder is always safe: its results stay until `tuneline gc` finds them
unpinned.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from tuneline.stage import InputRecord, Json, Params, UserError
from tuneline.store import FileRecord, Store

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_bytes(self) -> bytes:
        """Return the record as it is stored: indented JSON with a final newline."""
        return (self.model_dump_json(indent=1) + "\n").encode()


R = TypeVar("R", bound=_Record)


class OutputRecord(_Record):
    """The files of one output port. Keys are `files` → name inside the port; a file port has one name, its own."""

    kind: str
    path: str
    sha256: str
    files: dict[str, FileRecord]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(record.size for record in self.files.values())


class Provenance(_Record):
    """Where a result came from, as far as it may be told: nothing of the host."""

    image: str | None
    commit: str | None
    packages: dict[str, str]


class Manifest(_Record):
    """The record of one complete result."""

    record: int = SCHEMA
    """Version of this record's form."""
    stage: str
    variant: str | None
    version: int
    fingerprint: str
    params: dict[str, Any]
    """Resolved parameters: defaults filled in, so that a reader needs no code to know them."""
    inputs: dict[str, InputRecord]
    outputs: dict[str, OutputRecord]
    metrics: dict[str, Json]
    provenance: Provenance
    started_at: str
    finished_at: str


class Pin(_Record):
    """Which result a stage has in a run."""

    stage: str
    fingerprint: str


class InputPin(_Record):
    """Which bytes a given input held in a run; `files` is empty for hf:// (the commit in the URI names them)."""

    uri: str | None
    sha256: str
    files: dict[str, str]


class Failure(_Record):
    """Why an attempt failed. `message` is set for a UserError only: other messages may quote a transcript."""

    stage: str
    attempt: str
    exit_code: int
    type: str
    message: str | None
    frames: list[str]
    failed_at: str


def fingerprint(stage: str, version: int, params: Params, inputs: Mapping[str, str]) -> str:
    """Return the identity of a result, 64 hex digits.

    It is the sha256 of the stage's name and version, the parameters that differ from their defaults (without those of
    pace) and the sha256 of every input, as canonical JSON.
    """
    identity = {"stage": stage, "version": version, "params": identity_params(params), "inputs": dict(inputs)}
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


def new_attempt() -> str:
    """Return a name for one attempt at a result: the time in UTC, then eight random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def now() -> str:
    """Return the time in UTC as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def result_key(stage: str, digest: str, *parts: str) -> str:
    """Return the key of something inside a result."""
    return "/".join(("results", stage, digest, *parts))


def pin_key(run: str, node: str) -> str:
    """Return the key of the pin of `node` (`stage` or `stage@variant`) in a run."""
    return f"runs/{run}/{node}.json"


def read_manifest(store: Store, stage: str, digest: str) -> Manifest | None:
    """Return the manifest of a result, or None when the result is not complete."""
    data = store.get(result_key(stage, digest, "manifest.json"))
    return None if data is None else _parse(Manifest, data, result_key(stage, digest, "manifest.json"))


def read_pin(store: Store, run: str, node: str) -> Pin | None:
    """Return the pin of a stage in a run, or None."""
    data = store.get(pin_key(run, node))
    return None if data is None else _parse(Pin, data, pin_key(run, node))


def read_input_pins(store: Store, run: str, name: str) -> Iterator[tuple[str, InputPin]]:
    """Yield key and content of every pin of the given input `name`: one for each set of files that a stage reads."""
    prefix = f"runs/{run}/inputs/{name}"
    for entry in store.list(prefix):
        if entry.key.removeprefix(prefix)[0] in ".@" and (data := store.get(entry.key)) is not None:
            yield entry.key, _parse(InputPin, data, entry.key)


def pinned_manifest(store: Store, run: str, node: str) -> Manifest | None:
    """Return the manifest that a stage is pinned to in a run, or None."""
    pin = read_pin(store, run, node)
    return None if pin is None else read_manifest(store, pin.stage, pin.fingerprint)


def _parse(model: type[R], data: bytes, key: str) -> R:
    try:
        return model.model_validate_json(data)
    except ValidationError as e:
        fields = ", ".join(".".join(map(str, error["loc"])) or "JSON" for error in e.errors()[:3])
        raise UserError(f"{key}: not a record this version can read ({fields})") from None
