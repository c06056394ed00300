"""assessor: which transcripts are good enough to learn from?

Every transcript is judged by the rubric; those that pass are the ones the slicer cuts training examples from. A killed
run resumes where it was, and a later run judges only what is new.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tuneline.data.pii.finder import REGIONS, Region
from tuneline.data.reading.files import PATTERNS
from tuneline.data.text.audit import Action
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
    given,
    pace,
    page,
)


def _off(value: object) -> object:
    return "off" if value is False else value  # as YAML reads the word


_Action = Annotated[Action, BeforeValidator(_off)]


class AuditParams(Params):
    """What is done about a fault that code can see, whatever the judge says: nothing (`off`), count it (`report`), let
    no such transcript pass (`refuse`), or end the run before anything is paid (`stop`)."""

    language: _Action = "report"
    """Answers in another language than the user's; short ones and code are not judged."""
    loops: _Action = "report"
    """Answers that say the same over and over."""
    length: _Action = "report"
    """Answers of over 400 words and fifty times the words of their message."""
    same_opening: _Action = "report"
    """More than a fifth of all answers begin with the same three words, in a set of at least 20 answers."""
    stage_directions: _Action = "report"
    """Stage directions in answers, as `*smiles*` or `[laughs]`."""
    ai_talk: _Action = "report"
    """Answers that speak as an AI, or refuse as one, without being asked."""
    footers: _Action = "report"
    """Footers of a tool or a mail program, as `Generated with …` or `Sent from my …`."""
    tool_boxes: _Action = "report"
    """Boxes, thoughts and calls of a tool, as `<tool_call>` or lines of `────`."""
    speaker_labels: _Action = "report"
    """Names of speakers before a line of an answer, or control tokens of a chat template."""
    generator_talk: _Action = "report"
    """Talk about the making of the conversation: persona, exchange number, training data."""
    placeholders: _Action = "report"
    """Placeholders in answers that nobody filled in, as `Dear [name]` or `{{name}}`."""
    broken_text: _Action = "report"
    """Text that an export broke: lost or doubly encoded characters, escapes, HTML."""


class AssessorParams(Params):
    """How transcripts are judged."""

    on_bad: Literal["fail", "skip"] = "fail"
    """What to do about transcripts that cannot be used: stop, or leave out a few, each listed in rejected.jsonl."""
    max_bad: int = Field(default=5, ge=0, le=10_000)
    """Transcripts that `on_bad=skip` may leave out, or 1 % where that is more; more may hide a broken export."""
    tools: Literal["drop", "keep", "refuse"] = "refuse"
    """What becomes of tool calls and their results: left out, kept as text in the conversation, or a bad transcript."""
    answered_by: tuple[str, ...] = ()
    """Names, ids or addresses of those who answer, where a log says only who spoke; everybody else asks."""
    max_unparsed: float = Field(default=0.02, ge=0, le=1)
    """Share of transcripts that may stay without a readable answer; more hides a judge that does not work."""
    pii: Annotated[Literal["off", "report", "redact", "refuse"], BeforeValidator(_off)] = "off"
    """Personal data: not looked for, counted, replaced before anything leaves the machine, or a reason to stop."""
    pii_regions: tuple[Region, ...] = REGIONS
    """Countries whose identity papers and telephone numbers are known; each further one has more false finds."""
    pii_model: str | None = Field(default=None, pattern="^[a-z]{2,3}_[a-z0-9_]+$")
    """An installed spaCy model that finds people's names too; it takes memory and ten times as long."""
    audit: AuditParams = AuditParams()
    """What is done about faults that code can see, such as answers in another language; `audit.json` lists them."""
    concurrency: int = pace(8, ge=1, le=2048)
    """Most judge calls in flight; the pace is found by itself, so more costs memory only (0.1 MB each)."""
    canaries: int = pace(0, ge=0, le=100)
    """Transcripts that a model judged before and is asked about once more at each start (paid); 0 trusts it."""
    canary_noise: float = pace(0.1, ge=0, le=1)
    """Share of their answers that may have changed; a judge that differs more from itself stops the run."""
    timeout_s: float = pace(120.0, gt=0, le=3600)
    """Seconds after which one call is given up; long transcripts and slow servers need more."""


class AssessorInputs(Inputs):
    """What is judged, by what, by whom."""

    transcripts: Path = given(*PATTERNS)
    """Recorded conversations: a file or a folder of JSON, CSV or Parquet, packed or not, in any usual shape."""
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
    audit: Path = page("audit.md")
    """What code found in the set that a judge may overlook: counts of all and of those that passed, examples by id."""
    findings: Path = file_name("audit.json")
    """The same for programs."""
    rejected: Path = file_name("rejected.jsonl")
    """Transcripts that were left out: file, line, kind and reason, never a text."""
    repairs: Path = file_name("repairs.jsonl")
    """Transcripts that were mended on the way in: file, line, and how often by kind, never a text."""


def run(params: AssessorParams, inputs: AssessorInputs, outputs: AssessorOutputs, context: Context) -> Metrics:
    """Judge the transcripts."""
    from tuneline_assessor.assess import assess

    return assess(params, inputs, outputs, context)


def check(params: AssessorParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_assessor.check import check_given

    check_given(params, checks)


def plan(params: AssessorParams, plans: Plans) -> Iterable[Forecast]:
    """Say what calls to models will take."""
    from tuneline_assessor.plan import plan_judging

    return plan_judging(params, plans)


STAGE = Stage("assessor", 10, AssessorParams, AssessorInputs, AssessorOutputs, run, check=check, plan=plan)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
