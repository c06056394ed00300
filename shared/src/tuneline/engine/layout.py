"""Where everything lies in a store.

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

import secrets
from datetime import UTC, datetime


def new_attempt() -> str:
    """Return a name for one attempt at a result: the time in UTC, then eight random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def result_key(stage: str, digest: str, *parts: str) -> str:
    """Return the key of something inside a result."""
    return "/".join(("results", stage, digest, *parts))


def pin_key(run: str, node: str) -> str:
    """Return the key of the pin of `node` (`stage` or `stage@variant`) in a run."""
    return f"runs/{run}/{node}.json"
