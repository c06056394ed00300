"""Runs one stage: validate → find → fingerprint → done? else pin inputs → work → publish → pin.

What is refused before work leaves nothing in the store; what fails during work leaves a record in `runs/<run>/failed/`.
Anything may be killed at any moment: a result exists once its manifest does, and the manifest is written last.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.addresses.given import Identified, check_unchanged
from tuneline.engine.context import Live
from tuneline.engine.heartbeat import Heartbeat, planned
from tuneline.engine.identity import fingerprint, folder_sha256
from tuneline.engine.inputs import Found, Job, resolve_inputs
from tuneline.engine.layout import failure_key, manifest_key, new_attempt, result_key, run_key
from tuneline.engine.ledger import Ledger
from tuneline.engine.origin import refusals_named_by_origin
from tuneline.engine.pins import pin_inputs, pin_result, refuse_differences
from tuneline.engine.pipelines import Step
from tuneline.engine.records import Failure, Manifest, OutputRecord, Provenance, now, read_manifest
from tuneline.engine.runfile import RunFile
from tuneline.errors import Temporary, UserError, frames_of
from tuneline.stage import Metrics, OutputPort, Part
from tuneline.store.base import Store, in_parallel, is_local, local_path
from tuneline.store.verify import FileCache, plain_disk_errors, plain_errors


class Outcome(NamedTuple):
    """A result, and whether it was there already."""

    manifest: Manifest
    reused: bool


@contextmanager
def new_job(
    run_file: RunFile, step: Step, store: Store, scratch: Path | None = None, *, replace: bool = False,
    cache: Path | None = None, part: Part | None = None,
) -> Iterator[Job]:  # fmt: skip
    """Make a job with a scratch folder that is removed at the end; by default inside a file store, else in $TMPDIR."""
    attempt = new_attempt()
    folder = (scratch or work_folder(store)) / f"tuneline-{attempt}"
    try:
        yield Job(run_file, step, store, folder, attempt, replace, FileCache(cache), part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def work_folder(store: Store) -> Path:
    """Return where the work files of this store's stages lie on this machine."""
    return local_path(store.uri) / "scratch" if is_local(store.uri) else Path(tempfile.gettempdir())


def run_job(job: Job) -> Outcome:
    """Make the job's result, or find it made. Raises UserError, Temporary, or whatever the stage raises."""
    found = find(job)
    done = reuse(job, found)
    return Outcome(done, True) if done else Outcome(work(job, found), False)


def find(job: Job) -> Found:
    """Resolve the inputs, compute the fingerprint, and refuse what contradicts the run's pins. Writes nothing."""
    inputs, stage = resolve_inputs(job), job.step.stage
    hashes = {name: found.record.sha256 for name, found in inputs.items()}
    digest = fingerprint(stage.name, stage.version, job.params, hashes, job.step.shard)
    found = Found(inputs, digest)
    refuse_differences(job, found)
    return found


def reuse(job: Job, found: Found) -> Manifest | None:
    """Pin the result if it exists already, whichever run made it."""
    manifest = read_manifest(job.store, job.step.stage.name, found.fingerprint)
    if manifest is not None:
        pin_inputs(job, found)
        _pin(job, found, manifest)
    return manifest


def do_part(job: Job) -> str:
    """Do a part of a stage, which fills journals and publishes nothing; if the whole result exists, do nothing."""
    found = find(job)
    if reuse(job, found):
        return f"{job.step.name} {found.fingerprint[:12]} found"
    with _heartbeat(job) as heartbeat:
        return f"{job.step.name}, part {job.part}: {_run(job, found, heartbeat)[0].headline}"


def do_once(job: Job) -> str:
    """Let a stage do its work for somebody outside of the store: its result is neither published nor pinned."""
    return _run(job, find(job))[0].headline


def work(job: Job, found: Found) -> Manifest:
    """Run the stage, publish what it made, pin it."""
    started = now()
    with _heartbeat(job) as heartbeat:
        metrics, seconds, live = _run(job, found, heartbeat)
        heartbeat.publishing()
        try:
            manifest = _publish(job, found, metrics, seconds, started)
        except Exception as e:
            _record_failure(job, e)
            raise
        _pin(job, found, manifest)
    live.discard_state()
    return manifest


def _run(job: Job, found: Found, heartbeat: Heartbeat | None = None) -> tuple[Metrics, float, Live]:
    """Run the stage; return what it reports and how long it took."""
    _make_scratch(job)
    stage = job.step.stage
    lineage = {name: i.record for name, i in found.inputs.items()}
    live = Live(
        job.store, stage.name, found.fingerprint, job.attempt, job.scratch / "state", lineage,
        lambda: pin_inputs(job, found), job.part, _ledger(job), heartbeat,
    )  # fmt: skip
    try:
        with live:
            paths = dict.fromkeys(stage.inputs.model_fields) | {name: i.path for name, i in found.inputs.items()}
            clock = time.monotonic()
            with refusals_named_by_origin(job.run_file, job.scratch):
                metrics = _call(job, paths, live)
            seconds = round(time.monotonic() - clock, 3)
        for given in found.given:
            if isinstance(given.source, Identified):
                check_unchanged(given.source)
        if not live.begun:  # a stage that needed no safe point
            pin_inputs(job, found)
    except Exception as e:
        if live.begun:
            _record_failure(job, e)
        raise
    return metrics, seconds, live


def _make_scratch(job: Job) -> None:
    """Make the work folder. A refusal names the store's folder if that cannot be made: nobody wrote the other name."""
    place = job.scratch.parent
    if is_local(job.store.uri) and place == work_folder(job.store) and not (root := local_path(job.store.uri)).exists():
        place = root
    with plain_errors(f"{place}: no folder can be made there"):
        job.scratch.mkdir(parents=True, exist_ok=True)


def _heartbeat(job: Job) -> Heartbeat:
    plan = planned(job.run_file.steps, job.run_file.max_usd)
    return Heartbeat(job.store, job.run, job.step.node, job.label, plan, job.part)


def _ledger(job: Job) -> Ledger:
    return Ledger(job.store, job.run, job.step.node, job.label, job.run_file.max_usd)


def _call(job: Job, paths: dict[str, Path | None], live: Live) -> Metrics:
    stage = job.step.stage
    places = {port.name: _output_path(job, port) for port in stage.output_ports()}
    for port in stage.output_ports():
        (places[port.name] if port.kind == "folder" else places[port.name].parent).mkdir(parents=True, exist_ok=True)
    inputs, outputs = stage.inputs.model_validate(paths), stage.outputs.model_validate(places)
    with plain_disk_errors():
        metrics: Metrics = stage.run(job.params, inputs, outputs, live)
    return metrics


def _pin(job: Job, found: Found, manifest: Manifest) -> None:
    pin_result(job, found)
    link_outputs(job.store, job.run, job.step.name, manifest, job.attempt)


def _output_path(job: Job, port: OutputPort) -> Path:
    return job.scratch / "outputs" / port.path


def _publish(job: Job, found: Found, metrics: Metrics, seconds: float, started: str) -> Manifest:
    """Upload outputs, then the manifest with a conditional put: the first attempt that gets there counts."""
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
        job.store.delete(manifest.keys)
    return winner


def _upload(job: Job, digest: str, port: OutputPort) -> OutputRecord:
    path = _output_path(job, port)
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


def link_outputs(store: Store, run: str, node: str, manifest: Manifest, attempt: str) -> None:
    """On a file store, give the outputs names that people can find: `runs/<run>/<node>/<port>`."""
    if not is_local(store.uri):
        return
    root = local_path(store.uri)
    folder = root / run_key(run, node)
    folder.mkdir(parents=True, exist_ok=True)
    for output in manifest.outputs.values():
        name, record = next(iter(output.files.items()))
        target = root / record.key
        if output.kind == "folder":
            target = target.parents[len(Path(name).parts) - 1]
        link, new = folder / output.path, folder / f".part-{attempt}"
        new.symlink_to(os.path.relpath(target, folder))
        new.replace(link)


def _record_failure(job: Job, error: Exception) -> None:
    if isinstance(error, Temporary):
        return
    wrong = isinstance(error, UserError)
    failure = Failure(
        stage=job.step.name, attempt=job.attempt, exit_code=2 if wrong else 1, type=type(error).__name__,
        message=str(error) if wrong else None, frames=frames_of(error), failed_at=now(),
    )  # fmt: skip
    job.store.put(failure_key(job.run, job.step.node, job.label), failure.to_bytes())
