"""assessor: which transcripts are good enough to learn from?

Every transcript is judged by the rubric; those that pass are the ones the slicer cuts training examples from. A killed
run resumes where it was, and a later run judges only what is new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tuneline.data.pii import REGIONS, Region
from tuneline.data.transcript_files import PATTERNS
from tuneline.stage import Context, Inputs, Metrics, Outputs, Params, Stage, file_name, given, pace


def _off(value: object) -> object:
    return "off" if value is False else value  # as YAML reads the word


class AssessorParams(Params):
    """How transcripts are judged."""

    on_bad: Literal["fail", "skip"] = "fail"
    """What to do about transcripts that cannot be read: stop, or leave out up to 1 %, listed in rejected.jsonl."""
    max_unparsed: float = Field(default=0.02, ge=0, le=1)
    """Share of transcripts that may stay without a readable answer; more hides a judge that does not work."""
    pii: Annotated[Literal["off", "report", "redact", "refuse"], BeforeValidator(_off)] = "off"
    """Personal data: not looked for, counted, replaced before anything leaves the machine, or a reason to stop."""
    pii_regions: tuple[Region, ...] = REGIONS
    """Countries whose identity papers and telephone numbers are known; each further one has more false finds."""
    pii_model: str | None = Field(default=None, pattern="^[a-z]{2,3}_[a-z0-9_]+$")
    """An installed spaCy model that finds people's names too; it takes memory and ten times as long."""
    concurrency: int = pace(8, ge=1, le=256)
    """Most judge calls in flight; more is faster until the judge's server pushes back, which lowers it by itself."""
    timeout_s: float = pace(120.0, gt=0, le=3600)
    """Seconds after which one call is given up; long transcripts and slow servers need more."""


class AssessorInputs(Inputs):
    """What is judged, by what, by whom."""

    transcripts: Path = given(*PATTERNS)
    """Recorded conversations: a file or a folder of .json or .jsonl files."""
    rubric: Path = given()
    """Criteria, weights, pass threshold and gates."""
    judge: Path = given()
    """Who judges: `provider` and its settings."""
    answers: Path | None = given(optional=True)
    """Answers that exist already, for the provider `recorded`."""


class AssessorOutputs(Outputs):
    """What the judge found."""

    transcripts: Path = file_name("transcripts.jsonl")
    """The transcripts as they were judged, one per line, sorted by id: what later stages take."""
    verdicts: Path = file_name("verdicts.jsonl")
    """One verdict per transcript, sorted by id: status, answers, reasons, score, pass, judge, usage."""
    judges: Path = file_name("judges.json")
    """Who judged: provider, model and its family, prompt version, hash of the questions, settings, days."""
    passing: Path = file_name("passing.json")
    """Ids and scores of the transcripts that passed, sorted by id."""
    rejected: Path = file_name("rejected.jsonl")
    """Transcripts that were left out because they cannot be read, with the reason."""


def run(params: AssessorParams, inputs: AssessorInputs, outputs: AssessorOutputs, context: Context) -> Metrics:
    """Judge the transcripts."""
    from tuneline_assessor.assess import assess

    return assess(params, inputs, outputs, context)


STAGE = Stage("assessor", 4, AssessorParams, AssessorInputs, AssessorOutputs, run)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
