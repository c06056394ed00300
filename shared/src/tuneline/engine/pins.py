"""Pins: which inputs and results a run has. Only they may change, and only with `--replace`.

Whatever contradicts a run's pins is refused in one form of words, whoever notices it and when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuneline.engine.addresses.given import Identified, known_to
from tuneline.engine.identity import is_pace
from tuneline.engine.inputs import Found, GivenInput, Job
from tuneline.engine.layout import known_key, pin_key, run_key
from tuneline.engine.records import InputPin, Manifest, Pin, pinned_manifest, read, read_manifest
from tuneline.engine.runfile import RunFile
from tuneline.errors import UserError
from tuneline.parsing.problems import shortened
from tuneline.stage import Params
from tuneline.store.base import Store


def refuse_differences(job: Job, found: Found) -> None:
    """Refuse inputs, parameters or a stage other than those that the run has used, unless it is to be replaced."""
    if job.replace:
        return
    pin, differs = read(Pin, job.store, pin_key(job.run, job.step.node)), dict[str, str]()
    if pin is not None and pin.fingerprint != found.fingerprint:
        differs |= _of_result(job, found, read_manifest(job.store, pin.stage, pin.fingerprint))
    for given in found.given:
        differs |= _of_pins(job, given)
    _refuse(job.run, differs)


def refuse_other_params(run_file: RunFile, store: Store) -> None:
    """Refuse, before any stage starts, parameters that contradict what the run's stages were made with."""
    differs: dict[str, str] = {}
    for step in run_file.steps:
        old = pinned_manifest(store, run_file.run, step.node)
        if old is not None:
            differs |= _of_params(step.stage.name, old, run_file.params[step.stage.name])
    _refuse(run_file.run, differs)


def pin_inputs(job: Job, found: Found) -> None:
    """Pin the given inputs with a conditional put. Raises UserError when another stage has pinned others meanwhile."""
    for given in found.given:
        job.store.put(given.pin_key(job.run), given.pin.to_bytes(), if_absent=not job.replace)
    for key, known in _known(found):
        if known != job.store.get(key):
            job.store.put(key, known)
    refuse_differences(job, found)


def note_inputs(job: Job, found: Found) -> None:
    """Tell the stage, which runs in a process of its own, what the addresses hold: it need not read them to know."""
    for key, known in _known(found):
        job.cache.note(key, known)


def _known(found: Found) -> Iterator[tuple[str, bytes]]:
    for given in found.given:
        if isinstance(given.source, Identified):
            yield known_key(given.port.name, given.source.uri, given.selection), known_to(given.source.files)


def pin_result(job: Job, found: Found) -> None:
    """Pin the result. Raises UserError if the run has got another one meanwhile."""
    pin = Pin(stage=job.step.stage.name, fingerprint=found.fingerprint)
    if not job.store.put(pin_key(job.run, job.step.node), pin.to_bytes(), if_absent=not job.replace):
        refuse_differences(job, found)


def _refuse(run: str, differs: Mapping[str, str]) -> None:
    if differs:
        listed = "; ".join(f"{what} {how}" for what, how in differs.items())
        raise UserError(
            f"run {run} was made with other inputs or settings: {listed}. "
            "Use another run name, or --replace to move this run to the new result"
        )


def _of_result(job: Job, found: Found, old: Manifest | None) -> dict[str, str]:
    if old is None:
        return {f"the result of {job.step.name}": "was removed from the store"}
    differs = _of_params(job.step.stage.name, old, job.params)
    if old.version != job.step.stage.version:
        differs[f"stage {job.step.stage.name}"] = f"version {old.version} → {job.step.stage.version}"
    for name in sorted(old.inputs.keys() | found.inputs.keys()):
        was, now = old.inputs.get(name), found.inputs.get(name)
        if (was and was.sha256) != (now and now.record.sha256):
            differs[f"inputs.{name}"] = "changed"
    return differs


def _of_params(stage: str, old: Manifest, params: Params) -> dict[str, str]:
    before, after = dict(_flat(old.params)), dict(_flat(params.model_dump(mode="json")))
    return {
        f"{stage}.{name}:": f"{before.get(name)} → {after.get(name)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not is_pace(type(params), name)
    }


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _of_pins(job: Job, given: GivenInput) -> dict[str, str]:
    """Compare with every pin of the input: one for each set of files that a stage reads."""
    prefix, differs = run_key(job.run, "inputs", given.port.name), dict[str, str]()
    for entry in job.store.list(prefix):
        old = read(InputPin, job.store, entry.key) if entry.key.removeprefix(prefix)[0] in ".@" else None
        changed = _changed(entry.key == given.pin_key(job.run), old, given.pin) if old else []
        if changed:
            differs[f"inputs.{given.port.name}"] = f"changed ({shortened(changed)})"
    return differs


def _changed(same_files: bool, old: InputPin, new: InputPin) -> list[str]:
    changed = sorted(f for f in old.files.keys() & new.files.keys() if old.files[f] != new.files[f])
    if same_files and old.sha256 != new.sha256:
        return changed or sorted(old.files.keys() ^ new.files.keys()) or [str(new.uri)]
    if not old.files and not new.files and old.uri != new.uri:
        return [str(new.uri)]
    return changed
