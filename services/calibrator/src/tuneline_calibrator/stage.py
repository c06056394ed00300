"""calibrator: the prompt whose scripts come closest to reference recordings.

A writer writes a script from each source by the current prompt, a judge reads it beside the recorded talk, and what was
lost goes back to the writer, which edits the prompt; the best one is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tuneline.stage import (
    Checks,
    Context,
    Forecast,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Plans,
    Stage,
    file_name,
    folder_name,
    given,
    output_of,
    pace,
    page,
)


class WeightParams(Params):
    """What each loss counts in the total; together 1."""

    duration: float = Field(default=0.25, ge=0, le=1)
    """How far the length is from that of the talk."""
    coverage: float = Field(default=0.25, ge=0, le=1)
    """Key concepts that are not explained."""
    structure: float = Field(default=0.20, ge=0, le=1)
    """Other kinds of passages, in another order or of other lengths."""
    quality: float = Field(default=0.20, ge=0, le=1)
    """What the judge misses of engagement, clarity and accuracy."""
    rouge: float = Field(default=0.10, ge=0, le=1)
    """Other words than those of the talk."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        whole = sum(self.model_dump().values())
        if abs(whole - 1) > 1e-6:
            raise PydanticCustomError("weights", "together they must be 1, and are {whole}", {"whole": f"{whole:g}"})
        return self

    def as_mapping(self) -> dict[str, float]:
        """Return the weights by loss."""
        found: dict[str, float] = self.model_dump()
        return found


class CalibratorParams(Params):
    """How long is tried, and what it may cost."""

    max_trials: int = Field(default=5, ge=1, le=50)
    """Most prompts that are tried; each costs a script and its judgement for every pair."""
    window: int = Field(default=2, ge=1, le=25)
    """Trials whose mean is compared with that of as many before them; more are less easily misled, and cost more."""
    min_improvement: float = Field(default=0.05, ge=0, lt=1)
    """Gain of that mean below which it stops; 0.05 is 5 %."""
    weights: WeightParams = WeightParams()
    """What each loss counts in the total."""
    max_concepts: int = Field(default=20, ge=1, le=100)
    """Most key concepts of a source; fewer make coverage coarser."""
    held_out: tuple[str, ...] | int = Field(default=0)
    """Pairs that choose nothing and only tell what the winner is worth: their names, or how many."""
    repeats: int = Field(default=1, ge=1, le=20)
    """Scripts of each pair in each trial; more tell prompts apart that are nearly alike, and cost as much more."""
    rejudged: int = Field(default=4, ge=0, le=1000)
    """Scripts of the best trial that are judged a second time, to see how far the judge agrees with itself."""
    on_bad: Literal["fail", "skip"] = "fail"
    """What to do with a pair whose talk cannot be read, or explains nothing of its source: fail, or leave it out."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Start of every random choice; another one gives other scripts."""
    max_usd: float | None = pace(10.0, ge=0)
    """US dollars that all calls may cost together, null without limit; at it, what is paid is kept."""
    concurrency: int = pace(8, ge=1, le=256)
    """Most pairs that are worked on at once."""
    timeout_s: float = pace(120.0, gt=0, le=3600)
    """Seconds after which one call is given up; long scripts and slow servers need more."""


class CalibratorInputs(Inputs):
    """References, the first prompt, who writes and who judges."""

    pairs: Path = output_of("transcriber")
    """Which references there are: a source and a recording each."""
    sources: Path = output_of("transcriber")
    """The text of each source."""
    talks: Path = output_of("transcriber")
    """What is said in each recording, and when."""
    prompt: Path = given("*.txt", "*.md", text=True)
    """The prompt to begin with: text that has `{source}` and `{profile}` once each."""
    writer: Path = given()
    """Who writes scripts and edits the prompt: `provider` and its settings."""
    judge: Path = given()
    """Who reads talks and scripts: `provider` and its settings."""


class CalibratorOutputs(Outputs):
    """The best prompt, and how it was found."""

    prompt: Path = file_name("prompt.txt")
    """The best prompt, to go on with, or for the generator to write by."""
    trials: Path = file_name("trials.jsonl")
    """What became of each pair in each trial: losses, what was missed, the judge's reasons."""
    calibration: Path = file_name("calibration.json")
    """Every prompt with its losses, why it stopped, and what may be said of the best one."""
    profile: Path = file_name("profile.json")
    """What the talks have in common, and how far they differ; `told` says it to a writer."""
    calibrated: Path = page("calibrated.html")
    """The same for people: curves, pairs, structures side by side, prompts with what changed."""
    scripts: Path = folder_name("scripts")
    """Every script, `<trial>/<pair>.txt`."""


def run(params: CalibratorParams, inputs: CalibratorInputs, outputs: CalibratorOutputs, context: Context) -> Metrics:
    """Find the prompt."""
    from tuneline_calibrator.calibrate import calibrate

    return calibrate(params, inputs, outputs, context)


def check(params: CalibratorParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_calibrator.check import check_given

    check_given(params, checks)


def plan(params: CalibratorParams, plans: Plans) -> Iterable[Forecast]:
    """Say what writer and judge will take."""
    from tuneline_calibrator.plan import plan_trials

    return plan_trials(params, plans)


STAGE = Stage("calibrator", 5, CalibratorParams, CalibratorInputs, CalibratorOutputs, run, check=check, plan=plan)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
