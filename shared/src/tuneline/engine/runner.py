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
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tuneline.engine.context import Live
from tuneline.engine.given import check_unchanged, folder_sha256
from tuneline.engine.identity import fingerprint, is_pace
from tuneline.engine.inputs import GivenInput, Resolved, pin_inputs, resolve_inputs
from tuneline.engine.layout import new_attempt, pin_key, result_key
from tuneline.engine.records import (
    Failure,
    Manifest,
    OutputRecord,
    Pin,
    Provenance,
    now,
    pinned_manifest,
    read_manifest,
    read_pin,
)
from tuneline.engine.runfile import Node, RunFile
from tuneline.errors import Temporary, UserError
from tuneline.stage import Metrics, OutputPort, Params
from tuneline.store.base import Store, in_parallel, local_path
from tuneline.store.verify import plain_disk_errors

WAY_OUT = "Use another run name, or --replace to move this run to the new result"


class Job(NamedTuple):
    """One stage of one run, to be done. `scratch` is this attempt's private folder."""

    run_file: RunFile
    node: Node
    store: Store
    scratch: Path
    attempt: str
    replace: bool = False

    @property
    def params(self) -> Params:
        """The stage's checked parameters."""
        return self.run_file.params[self.node.stage.name]


class Found(NamedTuple):
    """The inputs of a job and the identity of the result that it would make."""

    inputs: dict[str, Resolved]
    fingerprint: str


class Outcome(NamedTuple):
    """A result, and whether it was there already."""

    manifest: Manifest
    reused: bool


@contextmanager
def new_job(
    run_file: RunFile, node: Node, store: Store, scratch: Path | None = None, *, replace: bool = False
) -> Iterator[Job]:
    """Make a job with a scratch folder that is removed at the end; by default inside a file store, else in $TMPDIR."""
    attempt = new_attempt()
    if scratch is None:
        scratch = local_path(store.uri) / "scratch" if store.uri.startswith("file://") else Path(tempfile.gettempdir())
    folder = scratch / f"tuneline-{attempt}"
    try:
        yield Job(run_file, node, store, folder, attempt, replace)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_job(job: Job) -> Outcome:
    """Make the job's result, or find it made. Raises UserError, Temporary, or whatever the stage raises."""
    found = find(job)
    done = reuse(job, found)
    return Outcome(done, True) if done else Outcome(work(job, found), False)


def find(job: Job) -> Found:
    """Resolve the inputs, compute the fingerprint, and refuse what contradicts the run's pins. Writes nothing."""
    inputs = resolve_inputs(job.run_file, job.node, job.store, job.scratch / "inputs")
    stage = job.node.stage
    digest = fingerprint(stage.name, stage.version, job.params, {n: i.record.sha256 for n, i in inputs.items()})
    if not job.replace:
        _refuse_another_result(job, inputs, digest)
    pin_inputs(job.store, job.run_file.run, inputs, replace=job.replace, write=False)
    return Found(inputs, digest)


def reuse(job: Job, found: Found) -> Manifest | None:
    """Pin the result if it exists already, whichever run made it."""
    manifest = read_manifest(job.store, job.node.stage.name, found.fingerprint)
    if manifest is not None:
        pin_inputs(job.store, job.run_file.run, found.inputs, replace=job.replace, write=True)
        _pin(job, manifest)
    return manifest


def work(job: Job, found: Found) -> Manifest:
    """Run the stage, publish what it made, pin it."""
    stage, started = job.node.stage, now()
    lineage = {name: i.record for name, i in found.inputs.items()}
    live = Live(
        job.store, stage.name, found.fingerprint, job.attempt, job.scratch / "state", lineage,
        lambda: pin_inputs(job.store, job.run_file.run, found.inputs, replace=job.replace, write=True),
    )  # fmt: skip
    try:
        with live:
            clock = time.monotonic()
            metrics = _call(job, found, live)
            seconds = round(time.monotonic() - clock, 3)
        if not live.begun:  # a stage that needed no safe point
            pin_inputs(job.store, job.run_file.run, found.inputs, replace=job.replace, write=True)
        manifest = _publish(job, found, metrics, seconds, started)
    except Exception as e:
        if live.begun and not isinstance(e, Temporary):
            _record_failure(job, e)
        raise
    _pin(job, manifest)
    live.discard_state()
    return manifest


def _call(job: Job, found: Found, live: Live) -> Metrics:
    stage = job.node.stage
    paths = {port.name: None for port in stage.input_ports()} | {name: i.path for name, i in found.inputs.items()}
    for port in stage.output_ports():
        folder = _output_path(job, port)
        (folder if port.kind == "folder" else folder.parent).mkdir(parents=True, exist_ok=True)
    outputs = stage.outputs.model_validate({port.name: _output_path(job, port) for port in stage.output_ports()})
    with plain_disk_errors():
        metrics: Metrics = stage.run(job.params, stage.inputs.model_validate(paths), outputs, live)
    for given in found.inputs.values():
        if isinstance(given, GivenInput):
            check_unchanged(given.fetched)
    return metrics


def _output_path(job: Job, port: OutputPort) -> Path:
    return job.scratch / "outputs" / port.path


def _publish(job: Job, found: Found, metrics: Metrics, seconds: float, started: str) -> Manifest:
    """Upload the outputs, then the manifest with a conditional put. If another attempt was first, adopt its result."""
    stage = job.node.stage
    outputs = {port.name: _upload(job, found.fingerprint, port) for port in stage.output_ports()}
    manifest = Manifest(
        stage=stage.name, variant=job.node.variant, version=stage.version, fingerprint=found.fingerprint,
        params=job.params.model_dump(mode="json"), inputs={n: i.record for n, i in found.inputs.items()},
        outputs=outputs, metrics=metrics, seconds=seconds, provenance=_provenance(), started_at=started,
        finished_at=now(),
    )  # fmt: skip
    key = result_key(stage.name, found.fingerprint, "manifest.json")
    if job.store.put(key, manifest.to_bytes(), if_absent=True):
        return manifest
    winner = read_manifest(job.store, stage.name, found.fingerprint)
    if winner is None:
        raise Temporary(f"{key} was there and is gone; run the same command again")
    if winner.outputs != manifest.outputs:
        job.store.delete(r.key for output in outputs.values() for r in output.files.values())
    return winner


def _upload(job: Job, digest: str, port: OutputPort) -> OutputRecord:
    path = _output_path(job, port)
    files = [path] if port.kind != "folder" else sorted(p for p in path.rglob("*") if p.is_file())
    if not files or not all(f.is_file() for f in files):
        raise RuntimeError(f"stage {job.node.stage.name} wrote no {port.name}")
    base = path if port.kind == "folder" else path.parent
    names = [file.relative_to(base).as_posix() for file in files]
    places = [f"{port.path}/{name}" if port.kind == "folder" else port.path for name in names]
    keys = [result_key(job.node.stage.name, digest, job.attempt, place) for place in places]
    records = dict(zip(names, in_parallel(job.store.upload, files, keys), strict=True))
    only = next(iter(records.values()))
    whole = only.sha256 if port.kind != "folder" else folder_sha256({n: r.sha256 for n, r in records.items()})
    return OutputRecord(kind=port.kind, path=port.path, sha256=whole, files=records)


def _provenance() -> Provenance:
    """Name image, commit and every installed package. The first two are set when an image is built."""
    found = (place.stem.rsplit("-", 1) for folder in sys.path for place in Path(folder).glob("*-*.dist-info"))
    packages = dict(sorted(found))
    environ = os.environ
    return Provenance(image=environ.get("TUNELINE_IMAGE"), commit=environ.get("TUNELINE_COMMIT"), packages=packages)


def _refuse_another_result(job: Job, inputs: dict[str, Resolved], digest: str) -> None:
    pin = read_pin(job.store, job.run_file.run, job.node.name)
    if pin is None or pin.fingerprint == digest:
        return
    raise UserError(
        f"run {job.run_file.run} has another result of {job.node.name}: "
        f"{'; '.join(_differences(job, inputs, read_manifest(job.store, pin.stage, pin.fingerprint)))}. "
        f"{WAY_OUT}"
    )


def refuse_other_params(run_file: RunFile, store: Store) -> None:
    """Refuse, before any stage starts, parameters that contradict what the run's stages were made with."""
    problems: list[str] = []
    for node in run_file.nodes:
        old = pinned_manifest(store, run_file.run, node.name)
        if old is not None:
            problems += _other_params(node.stage.name, old, run_file.params[node.stage.name])
    if problems:
        raise UserError(
            f"run {run_file.run} was made with other settings: {'; '.join(dict.fromkeys(problems))}. {WAY_OUT}"
        )


def _other_params(stage: str, old: Manifest, params: Params) -> Iterator[str]:
    before, after = _flat(old.params), _flat(params.model_dump(mode="json"))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and not is_pace(type(params), name):
            yield f"{stage}.{name}: {before.get(name)} → {after.get(name)}"


def _differences(job: Job, inputs: dict[str, Resolved], old: Manifest | None) -> Iterator[str]:
    if old is None:
        yield "it was removed from the store"
        return
    if old.version != job.node.stage.version:
        yield f"stage version {old.version} → {job.node.stage.version}"
    yield from _other_params(job.node.stage.name, old, job.params)
    for name in sorted(old.inputs.keys() | inputs.keys()):
        was, found = old.inputs.get(name), inputs.get(name)
        if (was and was.sha256) != (found and found.record.sha256):
            yield f"input {name} changed"


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _pin(job: Job, manifest: Manifest) -> None:
    pin = Pin(stage=manifest.stage, fingerprint=manifest.fingerprint)
    key = pin_key(job.run_file.run, job.node.name)
    if not job.store.put(key, pin.to_bytes(), if_absent=not job.replace):
        _refuse_another_result(job, {}, manifest.fingerprint)
    if job.store.uri.startswith("file://"):
        _link_outputs(job, manifest)


def _link_outputs(job: Job, manifest: Manifest) -> None:
    """On a file store, give the outputs names that people can find: `runs/<run>/<stage>/<port>`."""
    root = local_path(job.store.uri)
    folder = root / "runs" / job.run_file.run / job.node.name
    folder.mkdir(parents=True, exist_ok=True)
    for output in manifest.outputs.values():
        name, record = next(iter(output.files.items()))
        target = root / record.key
        if output.kind == "folder":
            target = target.parents[len(Path(name).parts) - 1]
        link, new = folder / output.path, folder / f".part-{job.attempt}"
        new.symlink_to(os.path.relpath(target, folder))
        new.replace(link)


def _record_failure(job: Job, error: Exception) -> None:
    told = isinstance(error, UserError)
    failure = Failure(
        stage=job.node.name, attempt=job.attempt, exit_code=2 if told else 1, type=type(error).__name__,
        message=str(error) if told else None, frames=frames_of(error), failed_at=now(),
    )  # fmt: skip
    job.store.put(f"runs/{job.run_file.run}/failed/{job.node.name}-{job.attempt}.json", failure.to_bytes())


def frames_of(error: BaseException) -> list[str]:
    """Return where an error was raised, innermost last, without any value: `package/module.py:12 function`."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]
