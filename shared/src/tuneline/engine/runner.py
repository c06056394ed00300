"""Runs one stage: validate → find → fingerprint → done? else pin inputs → work → publish → pin.

What is refused before work leaves nothing in the store; what fails during work leaves a record in `runs/<run>/failed/`.
Anything may be killed at any moment: a result exists once its manifest does, and the manifest is written last.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.context import Live
from tuneline.engine.given import Identified, check_unchanged
from tuneline.engine.identity import fingerprint
from tuneline.engine.inputs import Found, Job, inline_named_by_origin, resolve_inputs
from tuneline.engine.layout import failure_key, new_attempt
from tuneline.engine.pins import pin_inputs, pin_result, refuse_differences
from tuneline.engine.pipelines import Step
from tuneline.engine.publish import link_outputs, output_path, publish
from tuneline.engine.records import Failure, Manifest, now, read_manifest
from tuneline.engine.runfile import RunFile
from tuneline.errors import Temporary, UserError
from tuneline.stage import Metrics, Part
from tuneline.store.base import Store, local_path
from tuneline.store.cache import FileCache
from tuneline.store.verify import plain_disk_errors


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
    if scratch is None:
        scratch = local_path(store.uri) / "scratch" if store.uri.startswith("file://") else Path(tempfile.gettempdir())
    folder = scratch / f"tuneline-{attempt}"
    try:
        yield Job(run_file, step, store, folder, attempt, replace, FileCache(cache), part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    return f"{job.step.name}, part {job.part}: {_run(job, found)[0].headline}"


def work(job: Job, found: Found) -> Manifest:
    """Run the stage, publish what it made, pin it."""
    started = now()
    metrics, seconds, live = _run(job, found)
    try:
        manifest = publish(job, found, metrics, seconds, started)
    except Exception as e:
        _record_failure(job, e)
        raise
    _pin(job, found, manifest)
    live.discard_state()
    return manifest


def _run(job: Job, found: Found) -> tuple[Metrics, float, Live]:
    """Run the stage; return what it reports and how long it took."""
    stage = job.step.stage
    lineage = {name: i.record for name, i in found.inputs.items()}
    live = Live(
        job.store, stage.name, found.fingerprint, job.attempt, job.scratch / "state", lineage,
        lambda: pin_inputs(job, found), job.part,
    )  # fmt: skip
    try:
        with live:
            paths = dict.fromkeys(stage.inputs.model_fields) | {name: i.path for name, i in found.inputs.items()}
            clock = time.monotonic()
            with inline_named_by_origin(job, found):
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


def _call(job: Job, paths: dict[str, Path | None], live: Live) -> Metrics:
    stage = job.step.stage
    places = {port.name: output_path(job, port) for port in stage.output_ports()}
    for port in stage.output_ports():
        (places[port.name] if port.kind == "folder" else places[port.name].parent).mkdir(parents=True, exist_ok=True)
    inputs, outputs = stage.inputs.model_validate(paths), stage.outputs.model_validate(places)
    with plain_disk_errors():
        metrics: Metrics = stage.run(job.params, inputs, outputs, live)
    return metrics


def _pin(job: Job, found: Found, manifest: Manifest) -> None:
    pin_result(job, found)
    link_outputs(job, manifest)


def _record_failure(job: Job, error: Exception) -> None:
    if isinstance(error, Temporary):
        return
    wrong = isinstance(error, UserError)
    failure = Failure(
        stage=job.step.name, attempt=job.attempt, exit_code=2 if wrong else 1, type=type(error).__name__,
        message=str(error) if wrong else None, frames=frames_of(error), failed_at=now(),
    )  # fmt: skip
    part = f"{job.part}-" if job.part else ""
    job.store.put(failure_key(job.run, job.step.node, f"{part}{job.attempt}"), failure.to_bytes())


def frames_of(error: BaseException) -> list[str]:
    """Return where an error was raised, innermost last, without any value: `package/module.py:12 function`."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]
