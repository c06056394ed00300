"""Makes slices again after transcripts were forgotten, from what the store and the addresses in its records hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tuneline.engine.layout import Node
from tuneline.engine.lineage import Result
from tuneline.engine.pipelines import Address, Step
from tuneline.engine.records import Manifest, read_manifest
from tuneline.engine.runfile import RunFile
from tuneline.engine.runner import find, new_job, reuse, work
from tuneline.errors import UserError
from tuneline.stage import installed_stages
from tuneline.store.base import Store

SLICER = "slicer"
TAKEN = ("judged", "verdicts", "transcripts")
"""Inputs that hold transcripts: from outside of the store they would bring back what was forgotten."""


class _Pinned(NamedTuple):
    """Where a run comes from that no file describes."""

    name: str
    content: None = None

    def where(self, loc: Sequence[int | str]) -> str:
        return f"{self.name}: {'.'.join(map(str, loc))}"


def is_stale(store: Store, manifest: Manifest) -> bool:
    """Tell whether slices were cut from what an assessor's result no longer holds."""
    for record in manifest.inputs.values():
        stage, _, digest = (record.producer or "").partition("/")
        made = read_manifest(store, stage, digest) if stage == "assessor" else None
        port = (record.uri or "").rpartition("#")[2]
        if made is not None and port in made.outputs and made.outputs[port].sha256 != record.sha256:
            return True
    return False


def slice_again(store: Store, run: str, old: Manifest) -> Manifest:
    """Cut a run's slices again from the assessor's result as it is now, and pin them. Raises UserError if it cannot."""
    stage = installed_stages().get(SLICER)
    if stage is None or stage.version != old.version:
        raise UserError("they were made by another version")
    given = {name: record for name, record in old.inputs.items() if record.producer is None}
    foreign = [name for name, record in given.items() if not record.uri or name in TAKEN]
    if foreign:
        raise UserError(f"the run file gave them {', '.join(foreign)}")
    inputs = {name: Address(str(record.uri)) for name, record in given.items()}
    params = {SLICER: stage.params.model_validate(old.params)}
    step = Step(Node(SLICER, old.variant), stage, ("assessor",))
    run_file = RunFile(_Pinned(f"run {run}"), run, inputs, params, (step,))
    with new_job(run_file, step, store, replace=True) as job:
        found = find(job)
        for name, record in given.items():
            if found.inputs[name].record.sha256 != record.sha256:
                raise UserError(f"{name} at {record.uri} is another one now")
        return reuse(job, found) or work(job, found)


def rebuilt(store: Store, result: Result) -> Iterator[tuple[str, str]]:
    """Slice again for each run that pins the result; yield its node, and why not, or nothing."""
    for node, (run, _) in zip(result.nodes, result.pins, strict=True):
        try:
            slice_again(store, run, result.manifest)
        except UserError as e:
            yield node, str(e).partition("\n")[0]
        else:
            yield node, ""
