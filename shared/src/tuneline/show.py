"""What a run did, as a table; and its outputs, fetched."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from tuneline.manifest import Failure, Manifest, pinned_manifest
from tuneline.stage import InputRecord, UserError
from tuneline.store import Store


def results_of(store: Store, run: str) -> dict[str, Manifest]:
    """Return the results that a run pins, by node, oldest first. Raises UserError when there is no such run."""
    found: dict[str, Manifest] = {}
    for entry in store.list(f"runs/{run}/"):
        node = entry.key.removeprefix(f"runs/{run}/").removesuffix(".json")
        if entry.key.endswith(".json") and "/" not in node:
            manifest = pinned_manifest(store, run, node)
            if manifest is not None:
                found[node] = manifest
    if not found and not _failures(store, run):
        runs = sorted({entry.key.split("/")[1] for entry in store.list("runs/")})
        raise UserError(f"no run {run} in {store.uri}; it has {', '.join(runs) or 'no runs'}")
    return dict(sorted(found.items(), key=lambda item: item[1].finished_at))


def run_table(store: Store, run: str) -> Table:
    """Return a table with one row for each stage: what it read, wrote and took, and how it failed last."""
    table = Table("stage", "read", "wrote", "took", title=f"Run {run}", title_justify="left", show_lines=True)
    for node, manifest in results_of(store, run).items():
        read = [f"{name} {_short(i)} ← {_origin(i)}" for name, i in manifest.inputs.items()]
        wrote = [
            f"{name} {o.sha256[:8]} {size(sum(f.size for f in o.files.values()))}"
            for name, o in manifest.outputs.items()
        ]
        took = f"{manifest.metrics.get('seconds')} s\n{manifest.metrics.get('headline', '')}"
        table.add_row(f"{node}\n{manifest.fingerprint[:12]}", "\n".join(read), "\n".join(wrote), took)
    for failure in _failures(store, run):
        table.add_row(
            f"{failure.stage}\nfailed", failure.failed_at, failure.type, failure.message or failure.frames[-1]
        )
    return table


def fetch_output(store: Store, run: str, name: str, dest: Path) -> Path:
    """Copy an output, named `stage/port`, into the folder `dest`; every file is verified. Returns where it lies."""
    node, _, port = name.partition("/")
    results = results_of(store, run)
    if node not in results or port not in results[node].outputs:
        known = [f"{n}/{p}" for n, manifest in results.items() for p in manifest.outputs]
        raise UserError(f"run {run} has no output {name}; it has {', '.join(known)}")
    output = results[node].outputs[port]
    place = dest / output.path
    for file, record in output.files.items():
        store.download(record, place if output.kind == "file" else place / file)
    return place


def size(count: float) -> str:
    """Return a number of bytes in a unit that people read."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _short(record: InputRecord) -> str:
    return f"{record.sha256[:8]} {size(record.size)}"


def _origin(record: InputRecord) -> str:
    return record.producer.split("/")[0] if record.producer else record.uri or "the run file"


def _failures(store: Store, run: str) -> list[Failure]:
    """Return the failures of stages that have no result since."""
    failures = []
    for entry in store.list(f"runs/{run}/failed/"):
        if (data := store.get(entry.key)) is not None:
            failure = Failure.model_validate_json(data)
            result = pinned_manifest(store, run, failure.stage)
            if result is None or result.finished_at < failure.failed_at:
                failures.append(failure)
    return failures
