"""calibrator: the prompt whose scripts come closest to reference recordings.

A writer writes a script from each source by the current prompt, a judge reads it beside the recorded talk, and what was
lost goes back to the writer, which edits the prompt; the best one is kept.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tuneline.stage import (
    Checks,
    Context,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    folder_name,
    given,
    pace,
)


class CalibratorParams(Params):
    """How long is tried, and what it may cost."""

    max_trials: int = Field(default=5, ge=1, le=50)
    """Most prompts that are tried; each costs a script and its judgement for every pair."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Start of every random choice; another one gives other scripts."""
    max_usd: float | None = pace(10.0, ge=0)
    """US dollars that all calls together may cost, null without limit; what is paid is kept at the limit."""
    concurrency: int = pace(8, ge=1, le=256)
    """Most pairs that are worked on at once."""
    timeout_s: float = pace(120.0, gt=0, le=3600)
    """Seconds after which one call is given up; long scripts and slow servers need more."""


class CalibratorInputs(Inputs):
    """References, the first prompt, and who writes."""

    pairs: Path = given()
    """Which references there are: a source and a recording each."""
    sources: Path = given("*.txt")
    """The text of each source."""
    talks: Path = given()
    """What is said in each recording, and when."""
    prompt: Path = given("*.txt", "*.md")
    """The prompt to begin with: text that has `{source}` and `{profile}` once each."""
    writer: Path = given()
    """Who writes scripts: `provider` and its settings."""


class CalibratorOutputs(Outputs):
    """The best prompt, and how it was found."""

    prompt: Path = file_name("prompt.txt")
    """The best prompt, to go on with."""
    trials: Path = file_name("trials.jsonl")
    """What became of each pair in each trial."""
    scripts: Path = folder_name("scripts")
    """Every script, `<trial>/<pair>.txt`."""


def run(params: CalibratorParams, inputs: CalibratorInputs, outputs: CalibratorOutputs, context: Context) -> Metrics:
    """Find the prompt."""
    from tuneline_calibrator.calibrate import calibrate

    return calibrate(params, inputs, outputs, context)


def check(params: CalibratorParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_calibrator.given import check_given

    check_given(checks)


STAGE = Stage("calibrator", 1, CalibratorParams, CalibratorInputs, CalibratorOutputs, run, check=check)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
