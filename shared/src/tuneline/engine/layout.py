"""Where everything lies in a store.

A store holds immutable results, found by their fingerprint, and runs that pin them::

    <store>/
    ├── results/<stage>/<fingerprint>/
    │   ├── manifest.json                 written last and once; its existence means that the result is complete
    │   ├── <attempt>/<port>…             the files that the manifest lists
    │   ├── forgotten.json                how many transcripts it was made with that were forgotten since, if any
    │   └── state/index.json, <attempt>/… checkpoints of a result in the making
    ├── journals/<stage>/<scope>/<attempt>-<n>.jsonl    paid items, in write-once segments
    ├── forgotten/<hash of an id>.json    transcripts that `tuneline forget` took out, which no stage may take in again
    ├── inputs/<name>-<hash of the URI>.json            what a given URI held when it was last read
    ├── uploads/<name>-<hash>/…, <name>-<hash>.json     local inputs that `tuneline upload` put here; when it last did
    └── runs/<run>/
        ├── inputs/<name>.json            pins: which bytes a given input held
        ├── <node>.json                   pins: which result a node has in this run
        ├── failed/<node>-<attempt>.json  what went wrong, when it went wrong during work
        ├── live/<node>.json              signs of life of whoever works on it, `<node>.part-3-of-10.json` of a part
        ├── live/steps.json               the steps of the run as the last of them to start knew them
        ├── spent/<node>-<attempt>.json   what the attempt paid for calls to models, whatever became of it
        └── logs/<node>.log, <node>/<port>                  on a file store only: the last log, and links to the outputs

A node is `<stage>`, `<stage>@<variant>` or, for one shard of a stage, `<stage>/<i>-of-<n>`. Only pins may ever change.
Deleting a run folder is always safe: its results stay until `tuneline gc` finds them unpinned.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from tuneline.engine.identity import sha256_json
from tuneline.stage import Part

RESERVED = ("inputs", "failed", "spent", "live", "logs", "run", "goal", "check")
"""Names that no stage may have: they mean something else in a run's folder, a run file or a workflow."""

_NAME = "[a-z][a-z0-9-]*"
_NODE = re.compile(rf"(?P<stage>{_NAME})(?:@(?P<variant>{_NAME}))?(?:/(?P<shard>[0-9]+-of-[0-9]+))?")
_PIN = re.compile(r"runs/(?P<run>[^/]+)/(?P<node>.+)\.json")
_INPUT_PIN = re.compile(r"runs/[^/]+/inputs/[^/]+\.json")
_LIVE = re.compile(r"runs/(?P<run>[^/]+)/live/.+\.json")
_RESULT = re.compile(rf"results/(?P<stage>{_NAME})/(?P<digest>[0-9a-f]{{64}})/.+")
_UPLOAD = re.compile(r"uploads/(?P<upload>[^/]+?)(?:\.json|/.+)")


class Node(NamedTuple):
    """A step of a run: `stage`, `stage@variant`, or a shard of it, `stage/3-of-10`."""

    stage: str
    variant: str | None = None
    shard: Part | None = None

    def __str__(self) -> str:
        variant, shard = f"@{self.variant}" if self.variant else "", f"/{self.shard}" if self.shard else ""
        return f"{self.stage}{variant}{shard}"

    @classmethod
    def parse(cls, text: str) -> Node | None:
        """Read what `str` wrote; None for anything else."""
        found = _NODE.fullmatch(text)
        if found is None or found["stage"] in RESERVED:
            return None
        shard = Part.parse(found["shard"]) if found["shard"] else None
        return cls(found["stage"], found["variant"], shard) if bool(shard) == bool(found["shard"]) else None


def new_attempt() -> str:
    """Return a name for one attempt at a result: the time in UTC, then eight random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def result_key(stage: str, digest: str, *parts: str) -> str:
    """Return the key of something inside a result."""
    return "/".join(("results", stage, digest, *parts))


def manifest_key(stage: str, digest: str) -> str:
    """Return the key of the record of a result."""
    return result_key(stage, digest, "manifest.json")


def mark_key(stage: str, digest: str) -> str:
    """Return the key of the mark of a result that was made with transcripts which were forgotten."""
    return result_key(stage, digest, "forgotten.json")


def forgotten_key(id_sha256: str = "") -> str:
    """Return the key of the record of a forgotten transcript; without its hash, what all of them begin with."""
    return f"forgotten/{id_sha256}.json" if id_sha256 else "forgotten/"


def run_key(run: str, *parts: str) -> str:
    """Return the key of something inside a run's folder."""
    return "/".join(("runs", run, *parts))


def pin_key(run: str, node: Node | str) -> str:
    """Return the key of the pin of a node in a run."""
    return run_key(run, f"{node}.json")


def failure_key(run: str, node: Node, attempt: str) -> str:
    """Return the key of the record of a failed attempt."""
    return run_key(run, "failed", f"{node}-{attempt}.json")


def spent_key(run: str, node: Node, attempt: str) -> str:
    """Return the key of the record of what an attempt paid."""
    return run_key(run, "spent", f"{node}-{attempt}.json")


def claim_key(run: str, attempt: str = "") -> str:
    """Return the key of what an attempt that works may spend; without one, what the keys of all begin with."""
    return run_key(run, "claims", f"{attempt}.json" if attempt else "")


def live_key(run: str, node: Node, part: Part | None = None) -> str:
    """Return the key of the sign of life of a node, or of a part of its work."""
    return run_key(run, "live", f"{node}{f'.part-{part}' if part else ''}.json")


def live_steps_key(run: str) -> str:
    """Return the key of the steps that a run has."""
    return run_key(run, "live", "steps.json")


def input_pin_key(run: str, name: str, patterns: Sequence[str]) -> str:
    """Return the key of a given input's pin. Only some files of a folder are pinned under a name of their own."""
    return run_key(run, "inputs", f"{name}{f'@{sha256_json(patterns)[:8]}' if patterns else ''}.json")


def known_key(name: str, uri: str, patterns: Sequence[str]) -> str:
    """Return the key of what an address held when it was last read."""
    return f"inputs/{name}-{sha256_json([uri, *patterns])[:16]}.json"


def journal_prefix(stage: str, scope: Sequence[str]) -> str:
    """Return the folder of a journal."""
    return f"journals/{stage}/{sha256_json(scope)[:16]}"


def upload_key(name: str, sha256: str) -> str:
    """Return the folder of an uploaded input; its record has the same name and `.json`."""
    return f"uploads/{name}-{sha256[:16]}"


def upload_place(name: str) -> str:
    """Return the folder of the upload that `upload_of` names."""
    return f"uploads/{name}"


def pinned_by(key: str) -> tuple[str, Node] | None:
    """Return run and node of the key of a pin; None for any other key."""
    found = _PIN.fullmatch(key)
    node = Node.parse(found["node"]) if found else None
    return (found["run"], node) if found and node else None


def is_input_pin(key: str) -> bool:
    """Tell whether `key` is that of a given input's pin."""
    return _INPUT_PIN.fullmatch(key) is not None


def is_sign_of_life(key: str) -> bool:
    """Tell whether `key` is that of a sign of life."""
    found = _LIVE.fullmatch(key)
    return found is not None and key != live_steps_key(found["run"])


def result_of(key: str) -> tuple[str, str] | None:
    """Return stage and fingerprint of the key of something inside a result; None for any other key."""
    found = _RESULT.fullmatch(key)
    return (found["stage"], found["digest"]) if found else None


def upload_of(key: str) -> str | None:
    """Return the name of the upload that a key belongs to; None for any other key."""
    found = _UPLOAD.fullmatch(key)
    return found["upload"] if found else None


def upload_at(uri: str, store_uri: str) -> str | None:
    """Return the name of the upload of a store that an address lies in, or is; None for any other address."""
    return upload_of(f"{uri}/".removeprefix(f"{store_uri}/") + "…")
