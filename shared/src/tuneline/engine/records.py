"""The records of a store: manifests, pins and failures; `tuneline.engine.layout` says where they lie."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator

from tuneline.engine.layout import Node, forgotten_key, manifest_key, mark_key, pin_key
from tuneline.errors import UserError
from tuneline.parsing.problems import shortened
from tuneline.stage import Closed, InputRecord, Maker, Metrics, OutputKind
from tuneline.store.base import FileRecord, Store, in_parallel, safe_name


class Record(Closed):
    """A file of the store. A change of form raises `newest`; `upgraded` reads what earlier versions wrote."""

    newest: ClassVar[int] = 1

    record: int = 1
    """Version of this record's form; the first forms of all but manifests did not name it."""

    @classmethod
    def upgraded(cls, content: dict[str, Any], record: int) -> dict[str, Any]:
        """Return what a record of the older form `record` says in today's."""
        return content

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


R = TypeVar("R", bound=Record)
MOST_BYTES = 1 << 28
"""Of a record, of which the longest name each of ten thousands of files; a longer one would only fill the memory."""


class _Form(BaseModel):
    record: int = Field(default=1, ge=1)


_CONTENT = TypeAdapter(dict[str, Any])
_Name = Annotated[str, AfterValidator(safe_name)]


class OutputRecord(Closed):
    """The files of one output port by their names inside it; a file port has one name, its own.

    Names become paths on the machine of whoever reads them, so none may lead out of the folder they are put in.
    """

    kind: OutputKind
    path: Annotated[_Name, Field(pattern="^[^/]+$")]
    sha256: str
    files: dict[_Name, FileRecord] = Field(min_length=1)

    @model_validator(mode="after")
    def _keys_end_in_names(self) -> Self:
        for name, record in self.files.items():
            inside = f"{self.path}/{name}" if self.kind == "folder" else self.path
            if not record.key.endswith(f"/{inside}") or (self.kind != "folder" and len(self.files) > 1):
                raise ValueError("a key does not end in the name of its file")
        return self

    @property
    def size(self) -> int:
        return sum(record.size for record in self.files.values())


class Provenance(Closed):
    """Where a result came from, as far as it may be recorded: nothing of the host."""

    image: str | None
    commit: str | None
    packages: dict[str, str]


class Manifest(Record):
    """The record of one complete result."""

    newest: ClassVar[int] = 3

    record: int = 3
    stage: _Name
    variant: str | None
    shard: str | None = None
    """Which shard of a sharded stage, as `3-of-10`."""
    version: int
    fingerprint: _Name
    params: dict[str, Any]
    """Resolved parameters: defaults filled in, so that a reader needs no code to know them."""
    inputs: dict[str, InputRecord]
    outputs: dict[str, OutputRecord]
    metrics: Metrics
    seconds: float
    """How long the stage worked, without fetching and publishing."""
    provenance: Provenance
    started_at: str
    finished_at: str

    @property
    def keys(self) -> set[str]:
        """The files that it lists."""
        return {record.key for output in self.outputs.values() for record in output.files.values()}

    @classmethod
    def upgraded(cls, content: dict[str, Any], record: int) -> dict[str, Any]:
        """Form 1 had seconds and cost among free metrics, and pages were files with a name in .html.

        Form 2 had no rows in its cost.
        """
        if record == 2:
            return content
        counts = dict(content["metrics"])
        total = counts.pop("cost_usd", 0.0)
        cost = {"total_usd": total, "now_usd": counts.pop("cost_usd_now", total)}
        metrics = {"headline": str(counts.pop("headline", "")), "cost": cost}
        outputs = {
            name: port | ({"kind": "page"} if port["path"].endswith(".html") else {})
            for name, port in content["outputs"].items()
        }
        seconds = counts.pop("seconds", 0.0)
        return content | {"outputs": outputs, "seconds": seconds, "metrics": metrics | {"counts": counts}}


class Pin(Record):
    """Which result a stage has in a run."""

    stage: _Name
    fingerprint: _Name


class InputPin(Record):
    """Which bytes a given input held in a run; `files` is empty for hf:// (the commit in the URI names them)."""

    uri: str | None
    sha256: str
    files: dict[str, str]


class Failure(Record):
    """Why an attempt failed. `message` is set for a UserError only: other messages may quote a transcript."""

    stage: _Name
    attempt: str
    exit_code: int
    type: str
    message: str | None
    frames: list[str]
    failed_at: str


class Forgotten(Record):
    """A transcript that was forgotten. It says neither its id nor a word of it."""

    id_sha256: str
    """Of its id, as `hash_of_id` makes it."""
    content: list[str]
    """Of what it said, in every form that was judged."""
    removed: list[str]
    """Results that held it, as `stage/fingerprint`: what was made from one of these was made with it."""
    forgotten_at: str


class Mark(Record):
    """Says of a result that it was made with transcripts that were forgotten since."""

    transcripts: list[str]
    """Their ids, as `hash_of_id` makes them."""


def hash_of_id(name: str) -> str:
    """Return what stands for a transcript's id in records that outlast it."""
    return hashlib.sha256(b"a forgotten transcript: " + name.encode()).hexdigest()


def now() -> str:
    """Return the time in UTC as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(model: type[R], store: Store, key: str) -> R | None:
    """Return the record under `key`, or None."""
    data = store.get(key, MOST_BYTES)
    return None if data is None else parse(model, data, key)


def read_all(model: type[R], store: Store, prefix: str) -> list[R]:
    """Return all records whose keys begin with `prefix`."""
    keys = [entry.key for entry in store.list(prefix)]
    found = in_parallel(partial(store.get, most=MOST_BYTES), keys)
    return [parse(model, data, key) for key, data in zip(keys, found, strict=True) if data is not None]


def read_manifest(store: Store, stage: str, digest: str) -> Manifest | None:
    """Return the manifest of a result, or None when the result is not complete."""
    return read(Manifest, store, manifest_key(stage, digest))


def pinned_manifest(store: Store, run: str, node: Node | str) -> Manifest | None:
    """Return the manifest that a node is pinned to in a run, or None."""
    pin = read(Pin, store, pin_key(run, node))
    return None if pin is None else read_manifest(store, pin.stage, pin.fingerprint)


def parse(model: type[R], data: bytes, key: str) -> R:
    """Read a record of this version or an older one. Raises UserError for a newer one, and for anything else."""
    try:
        content = _CONTENT.validate_json(data)
        record = _Form.model_validate(content).record
        if record > model.newest:
            raise UserError(f"{key}: made by a newer Tuneline. Update this one to at least that version.")
        if record < model.newest:
            content = model.upgraded(content, record) | {"record": model.newest}
        return model.model_validate(content)
    except ValidationError as e:
        problem = shortened([".".join(map(str, error["loc"])) or "JSON" for error in e.errors()], most=3)
    except (AttributeError, KeyError, TypeError, ValueError) as e:  # an old record that lacks what it must have
        problem = type(e).__name__
    raise UserError(f"{key}: not a record that Tuneline wrote ({problem}). Remove it, and run the same command again.")


def maker_of(store: Store, record: InputRecord) -> Maker | None:
    """Return the result that an input comes from; None if no single one made it."""
    stage, _, digest = (record.producer or "").partition("/")
    data = store.get(manifest_key(stage, digest), MOST_BYTES) if digest and "+" not in digest else None
    if data is None:
        return None
    manifest = parse(Manifest, data, manifest_key(stage, digest))
    mark = read(Mark, store, mark_key(stage, digest))
    return Maker(
        stage=stage, version=manifest.version, fingerprint=digest, manifest_sha256=hashlib.sha256(data).hexdigest(),
        params=manifest.params, inputs=manifest.inputs, headline=manifest.metrics.headline,
        counts=manifest.metrics.counts, commit=manifest.provenance.commit, finished_at=manifest.finished_at,
        forgotten=len(mark.transcripts) if mark else 0,
    )  # fmt: skip


def is_forgotten(hashes: frozenset[str], name: str, sha256: str) -> bool:
    """Tell whether id or content of a transcript are among `forgotten_hashes`."""
    return not hashes.isdisjoint((hash_of_id(name), sha256))


def forgotten_hashes(store: Store) -> frozenset[str]:
    """Return the hashes of ids and contents of the transcripts that were forgotten."""
    records = read_all(Forgotten, store, forgotten_key())
    return frozenset(value for record in records for value in (record.id_sha256, *record.content))
