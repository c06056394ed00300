"""What can be known before anything is written."""

from __future__ import annotations

from tuneline.stage import Checks
from tuneline_calibrator.models.judge import load_judge
from tuneline_calibrator.models.writer import load_writer
from tuneline_calibrator.stage import CalibratorParams
from tuneline_calibrator.talks.given import read_prompt, read_references


def check_given(params: CalibratorParams, checks: Checks) -> None:
    """Read the prompt, the models, and the references where they are given."""
    checks.read("prompt", read_prompt)
    checks.read("writer", load_writer)
    checks.read("judge", load_judge)
    places = [checks.inputs[name] for name in ("pairs", "sources", "talks") if name in checks.inputs]
    if len(places) == 3:
        with checks.about("pairs"):
            checks.note(f"{len(read_references(*places)):,} pairs are ready")
