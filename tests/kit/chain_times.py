"""How long a run would take if only the order of its stages counted."""

from __future__ import annotations

from datetime import datetime

from tuneline.engine.records import pinned_manifest
from tuneline.engine.runfile import RunFile
from tuneline.store.base import Store


def critical_path(run_file: RunFile, store: Store) -> float:
    """Return the seconds of the longest chain of stages that wait for each other, as they took in this run."""
    ends: dict[str, float] = {}
    for step in run_file.steps:
        manifest = pinned_manifest(store, run_file.run, step.name)
        assert manifest is not None, step.name
        took = datetime.fromisoformat(manifest.finished_at) - datetime.fromisoformat(manifest.started_at)
        before = max((ends[name] for name in step.needs), default=0.0)
        ends[step.name] = before + took.total_seconds()
    return max(ends.values())
