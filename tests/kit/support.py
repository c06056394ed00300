"""What many tests do: run one stage through the real runner on a file store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tuneline.engine.layout import Node
from tuneline.engine.pipelines import Step
from tuneline.engine.records import Manifest
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import AnyStage
from tuneline.store.base import local_path, open_store


class Done(NamedTuple):
    """A result and the places of its outputs by port."""

    manifest: Manifest
    reused: bool
    paths: dict[str, Path]

    def __getitem__(self, port: str) -> Path:  # type: ignore[override]
        return self.paths[port]


def alone(stage: AnyStage, folder: Path, inputs: Mapping[str, Any], params: Mapping[str, Any], run: str) -> RunFile:
    """Return a run file of `stage` alone: every input is given, a path or the content itself."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in inputs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({"run": run, "goal": stage.name, "inputs": given, stage.name: dict(params)}))
    return read_run_file(file, {stage.name: stage})


def run_stage(
    stage: AnyStage,
    folder: Path,
    *,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    variant: str | None = None,
    run: str = "test",
    store: str | None = None,
) -> Done:
    """Run `stage` (or its `variant`) with all its inputs given; results go to the store in `folder`, or `store`."""
    opened = open_store(store or str(folder / "store"))
    given = {k: v for k, v in inputs.items() if v is not None}
    run_file = alone(stage, folder, given, params or {}, run)
    with new_job(run_file, Step(Node(stage.name, variant), stage), opened, folder / "scratch") as job:
        manifest, reused = run_job(job)
    root = local_path(opened.uri) / "results" / stage.name / manifest.fingerprint
    paths = {}
    for port, output in manifest.outputs.items():
        attempt = next(iter(output.files.values())).key.split("/")[3]
        paths[port] = root / attempt / output.path
    return Done(manifest, reused, paths)
