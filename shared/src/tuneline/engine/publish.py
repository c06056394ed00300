"""Publishing: outputs first, then the manifest with a conditional put. The first attempt that gets there counts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tuneline.engine.given import folder_sha256
from tuneline.engine.inputs import Found, Job
from tuneline.engine.layout import manifest_key, result_key, run_key
from tuneline.engine.records import Manifest, OutputRecord, Provenance, now, read_manifest
from tuneline.errors import Temporary
from tuneline.stage import Metrics, OutputPort
from tuneline.store.base import in_parallel, local_path


def output_path(job: Job, port: OutputPort) -> Path:
    """Return where a stage writes an output."""
    return job.scratch / "outputs" / port.path


def publish(job: Job, found: Found, metrics: Metrics, seconds: float, started: str) -> Manifest:
    """Upload what the stage made and return the manifest of the result."""
    stage = job.step.stage
    outputs = {port.name: _upload(job, found.fingerprint, port) for port in stage.output_ports()}
    shard = str(job.step.shard) if job.step.shard else None
    manifest = Manifest(
        stage=stage.name, variant=job.step.variant, shard=shard, version=stage.version, fingerprint=found.fingerprint,
        params=job.params.model_dump(mode="json"), inputs={n: i.record for n, i in found.inputs.items()},
        outputs=outputs, metrics=metrics, seconds=seconds, provenance=_provenance(), started_at=started,
        finished_at=now(),
    )  # fmt: skip
    key = manifest_key(stage.name, found.fingerprint)
    if job.store.put(key, manifest.to_bytes(), if_absent=True):
        return manifest
    winner = read_manifest(job.store, stage.name, found.fingerprint)
    if winner is None:
        raise Temporary(f"{key} has disappeared; run the same command again")
    if winner.outputs != manifest.outputs:
        job.store.delete(r.key for output in outputs.values() for r in output.files.values())
    return winner


def _upload(job: Job, digest: str, port: OutputPort) -> OutputRecord:
    path = output_path(job, port)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if port.kind == "folder" else [path]
    if not files or not all(f.is_file() for f in files):
        raise RuntimeError(f"stage {job.step.stage.name} wrote no {port.name}")
    base = path if port.kind == "folder" else path.parent
    names = [file.relative_to(base).as_posix() for file in files]
    places = [f"{port.path}/{name}" if port.kind == "folder" else port.path for name in names]
    keys = [result_key(job.step.stage.name, digest, job.attempt, place) for place in places]
    records = dict(zip(names, in_parallel(job.store.upload, files, keys), strict=True))
    only = next(iter(records.values()))
    whole = folder_sha256({n: r.sha256 for n, r in records.items()}) if port.kind == "folder" else only.sha256
    return OutputRecord(kind=port.kind, path=port.path, sha256=whole, files=records)


def _provenance() -> Provenance:
    """Name image, commit and every installed package. The first two are set when an image is built."""
    found = (place.stem.rsplit("-", 1) for folder in sys.path for place in Path(folder).glob("*-*.dist-info"))
    packages = dict(sorted(found))
    environ = os.environ
    return Provenance(image=environ.get("TUNELINE_IMAGE"), commit=environ.get("TUNELINE_COMMIT"), packages=packages)


def link_outputs(job: Job, manifest: Manifest) -> None:
    """On a file store, give the outputs names that people can find: `runs/<run>/<node>/<port>`."""
    if not job.store.uri.startswith("file://"):
        return
    root = local_path(job.store.uri)
    folder = root / run_key(job.run, job.step.name)
    folder.mkdir(parents=True, exist_ok=True)
    for output in manifest.outputs.values():
        name, record = next(iter(output.files.items()))
        target = root / record.key
        if output.kind == "folder":
            target = target.parents[len(Path(name).parts) - 1]
        link, new = folder / output.path, folder / f".part-{job.attempt}"
        new.symlink_to(os.path.relpath(target, folder))
        new.replace(link)
