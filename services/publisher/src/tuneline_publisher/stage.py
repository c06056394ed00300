"""publisher: what a run made, for others to use.

It takes a run as it is and makes nothing for it: files to run, the adapter, and, if asked by name, the transcripts
that passed. Each gets a card that says how it was made and what was found, and goes to a repository of the Hugging Face
Hub in one commit, or to a folder or a prefix of a bucket as one release.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tuneline.stage import Checks, Context, Inputs, Metrics, Outputs, Params, Stage, file_name, found

LICENCE = r"^[a-z0-9][a-z0-9.+-]*$"


class PublisherParams(Params):
    """What is published, and where."""

    target: str | None = Field(default=None, max_length=500)
    """Where to: hf://organisation/name, s3://bucket/prefix or the absolute path of a folder; it has no default."""
    release: str = Field(default="v1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    """Name of this release, a tag in the Hub; another release takes another name, since none is ever changed."""
    gguf: bool = True
    """Publish the GGUF files with Modelfile and report, in the Hub as `name-GGUF`."""
    adapter: bool = True
    """Publish the adapter, in the Hub as `name-LoRA`."""
    dataset: bool = False
    """Publish the transcripts that passed, word for word, in the Hub as the data set `name`; they may be private."""
    conversations: bool = False
    """Publish the page of every conversation that was compared, with what the judge said about it, beside the report;
    without it the report leads nowhere where it led there."""
    private: bool = True
    """Whether new repositories are seen by you and your organisation only; false is the whole world."""
    licence: str | None = Field(default=None, pattern=LICENCE, max_length=60)
    """Licence of adapter and GGUF files, as the Hub spells it; the default is the base model's, if it is known."""
    dataset_licence: str | None = Field(default=None, pattern=LICENCE, max_length=60)
    """Licence of the transcripts; without it their card grants none."""
    sign: bool = False
    """Sign the statement with sigstore, which needs a network and a token of its identity provider."""


class PublisherInputs(Inputs):
    """What the run has."""

    judged: Path | None = found("assessor", "transcripts")
    """The transcripts as they were judged."""
    verdicts: Path | None = found("assessor")
    """Which transcripts passed."""
    judges: Path | None = found("assessor")
    """Who judged them."""
    findings: Path | None = found("assessor")
    """What code found in the set."""
    repairs: Path | None = found("assessor")
    """How transcripts were mended on the way in."""
    generated: Path | None = found("generator", "quality")
    """What was found about transcripts that a model wrote."""
    slices: Path | None = found("slicer")
    """The training examples, which say which transcripts were held out."""
    slices_stats: Path | None = found("slicer", "stats")
    """Figures of them, and what of them a model wrote."""
    adapter: Path | None = found("trainer")
    """The adapter."""
    training: Path | None = found("trainer")
    """How it was trained."""
    model: Path | None = found("gguf-converter")
    """Folder with the GGUF files."""
    gguf: Path | None = found("gguf-converter")
    """Facts about them."""
    modelfile: Path | None = found("gguf-converter")
    """How Ollama runs the first."""
    compared_modelfile: Path | None = found("evaluator", "modelfile")
    """The same with system prompt, sampler and context of the comparison, which is published where there is one."""
    comparison: Path | None = found("evaluator")
    """Every figure of the comparison with the base model."""
    report: Path | None = found("evaluator")
    """The report."""
    view: Path | None = found("evaluator")
    """The page of every conversation."""
    summary: Path | None = found("evaluator")
    """The report in short."""


class PublisherOutputs(Outputs):
    """What was published."""

    published: Path = file_name("published.json")
    """Addresses, commits, and the hash of every file."""


def run(params: PublisherParams, inputs: PublisherInputs, outputs: PublisherOutputs, context: Context) -> Metrics:
    """Publish what the run has."""
    from tuneline_publisher.publish import publish

    return publish(params, inputs, outputs, context)


def check(params: PublisherParams, checks: Checks) -> None:
    """Look at the target."""
    from tuneline_publisher.check import check_given

    check_given(params, checks)


STAGE = Stage("publisher", 4, PublisherParams, PublisherInputs, PublisherOutputs, run, check=check)


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
