"""The command `tuneline get RUN --release DIR`: a run's models as a folder to hand on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from tuneline.commands.show import results_of
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import do_once, new_job
from tuneline.errors import UserError
from tuneline.stage import installed_stages
from tuneline.store.base import Store, at_home

PUBLISHER = "publisher"


def write_release(store: Store, run: str, folder: Path) -> str:
    """Let the publisher write the GGUF files and the adapter that a run has into `folder`; return what it says.

    The run is left as it is. Transcripts are published by a run file only, which asks for them by name.
    """
    stages, results = installed_stages(), results_of(store, run)
    if PUBLISHER not in stages:
        raise UserError(f"--release: the stage {PUBLISHER} is not installed.")
    has = {"gguf": "gguf-converter" in results, "adapter": "trainer" in results}
    if not any(has.values()):
        raise UserError(f"run {run} has no model to release; it has {', '.join(results) or 'no results'}.")
    content = {"run": run, "goal": PUBLISHER, PUBLISHER: {"target": str(at_home(str(folder)).absolute()), **has}}
    with tempfile.TemporaryDirectory(prefix="tuneline-") as place:
        file = Path(place) / "release.yaml"
        file.write_text(yaml.safe_dump(content))
        run_file = read_run_file(file, stages)
        with new_job(run_file, run_file.step(PUBLISHER), store, replace=True) as job:
            return do_once(job)
