"""generator: conversations to learn from, written by a model.

A recipe says how a model writes them. The variant `pilot` writes a few, tests the critic and shows what quality, time
and money to expect; only if it passes every gate does the stage itself write the rest, alone or in parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tuneline.data.reading.files import PATTERNS
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
    output_of,
    pace,
    page,
    without,
)


class GateParams(Params):
    """Limits of the gates, null being the recipe's own; a share of 0.05 is 5 %."""

    require: Literal["share", "bound"] = "share"
    """What must keep to a limit: the share that was seen, or also its one-sided 95 % bound, which takes more items."""
    runaway: float | None = Field(default=None, ge=0, le=1)
    """Answers that go on with a new prompt or do not end, of those with text."""
    token_limit: float | None = Field(default=None, ge=0, le=1)
    """Answers cut at `max_tokens`, of those with text."""
    shortest_median: float | None = Field(default=None, ge=0)
    """Least median of the tokens of accepted answers."""
    longest_median: float | None = Field(default=None, ge=1)
    """Largest median of the tokens of accepted answers."""
    acceptance: float | None = Field(default=None, ge=0, le=1)
    """Rows that the critic accepts, of those it judged; at least this."""
    lost: float | None = Field(default=None, ge=0, le=1)
    """Items that failed, were refused or blocked, got no answer or an echo, or could not be read or judged."""
    bad_prompts: float | None = Field(default=None, ge=0, le=1)
    """Items whose prompt is of no use: too short, too long, cut, or without a word."""
    duplicates: float | None = Field(default=None, ge=0, le=1)
    """Duplicates and near-duplicates, of the accepted rows."""
    same_answers: float | None = Field(default=None, ge=0, le=1)
    """Rows whose answers another row has word for word, of the kept ones."""
    critic_auc: float | None = Field(default=None, ge=0, le=1)
    """How well the critic tells an answer to its prompt from one to another prompt: 0.5 is a coin, 1 is always."""
    critic_mass: float | None = Field(default=None, ge=0, le=1)
    """Mean probability of yes and no together where the critic answers; less means that it answers something else."""
    loops: float | None = Field(default=None, ge=0, le=1)
    """Answers that say the same over and over, of those with text."""


class GeneratorParams(Params):
    """How much is written, and what it may cost."""

    count: int = Field(default=1000, ge=1, le=1_000_000)
    """Rows to keep, whatever number of parts writes them."""
    pilot: int = Field(default=100, ge=20, le=10_000)
    """Items of the pilot; with fewer than 59, no rate below 5 % can be shown."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Start of every random choice; another one gives other rows."""
    oversample: float = Field(default=1.1, ge=1, le=3)
    """Items made per row wanted, beyond what the pilot's acceptance asks for."""
    max_usd: float | None = pace(10.0, ge=0)
    """US dollars that pilot and parts may cost together, null without limit; at it, what is paid is kept."""
    max_hours: float | None = pace(None, gt=0)
    """Projected hours above which the stage does not start; null without limit."""
    gates: GateParams = GateParams()
    """What the pilot and then all rows must keep to."""
    keep_cut: bool = False
    """Keep answers that were cut at `max_tokens`; they teach to stop in mid-sentence."""
    min_margin: Annotated[float, Field(ge=-100, le=100)] | Literal["auto"] = 1.0
    """Least ln P(yes) - ln P(no) of the critic for a row to be kept, or `auto`, by its test; another costs nothing."""
    concurrency: int = pace(8, ge=1, le=2048)
    """Most calls in flight; the pace is found by itself."""
    timeout_s: float = pace(120.0, gt=0, le=3600)
    """Seconds after which one call is given up; long answers and slow servers need more."""
    part_minutes: float = pace(40.0, gt=0, le=10_000)
    """Wanted minutes of one part; their number is the projected time over this, at most 100."""


class GeneratorInputs(Inputs):
    """Who writes what, and who looks at it."""

    recipe: Path = given()
    """How it is written: kind, prompts, samplers, categories, examples."""
    writer: Path = given()
    """Who writes: `provider` and its settings."""
    writer_model: Path | None = given("*.gguf", optional=True)
    """The writer's model, for the provider `llama-server`: a GGUF file."""
    critic: Path | None = given(optional=True)
    """Who says whether a row is good; without one, every well-formed row is kept."""
    critic_model: Path | None = given("*.gguf", optional=True)
    """The critic's model, a GGUF file; the default is the writer's."""
    rubric: Path | None = given(optional=True)
    """What a judge decides by, for a critic `judge`; what is required of every row are its gates."""
    judge: Path | None = given(optional=True)
    """Who judges, for a critic `judge`."""
    system_prompt: Path | None = given(optional=True, text=True)
    """What documents and conversations are answered below."""
    personas: Path | None = given(optional=True)
    """Who talks, for the recipe `conversations`: others than those of a comparison."""
    simulator: Path | None = given(optional=True)
    """Who speaks for the personas; scripted without one."""
    script_sources: Path | None = given("*.txt", "*.md", optional=True)
    """What is written about, for the recipe `scripts`: a folder with a text for each source."""
    script_prompt: Path | None = given("*.txt", "*.md", optional=True, text=True)
    """How scripts are asked for, with {source}, {profile} or both: `output:calibrator/prompt`."""
    script_profile: Path | None = given("*.json", optional=True)
    """What stands for {profile}: `output:calibrator/profile`."""
    held_out: Path | None = given(*PATTERNS, optional=True)
    """Prompts or transcripts that nothing written may overlap with."""
    pilot: Path | None = output_of("generator@pilot", "quality")
    """What the pilot found."""
    pilot_prompts: Path | None = output_of("generator@pilot", "prompts")
    """The test prompts that the pilot set aside."""


class GeneratorOutputs(Outputs):
    """What was written, and what it is worth."""

    transcripts: Path = file_name("transcripts.jsonl")
    """The kept rows as transcripts, each with its provenance."""
    verdicts: Path = file_name("verdicts.jsonl")
    """The critic's verdict on each of them, in place of an assessor's."""
    rejected: Path = file_name("rejected.jsonl")
    """Every other item: status, reason, text, provenance."""
    prompts: Path = file_name("prompts.jsonl")
    """Test prompts that are in no row, for a comparison."""
    quality: Path = file_name("quality.json")
    """Gates, rates with bounds, statuses, the critic's test, projection, costs, and what all rows have in common."""
    generated: Path = page("generated.html")
    """The same for people, with up to 20 flagged and 20 kept rows side by side."""


def run(params: GeneratorParams, inputs: GeneratorInputs, outputs: GeneratorOutputs, context: Context) -> Metrics:
    """Write the conversations."""
    from tuneline_generator.generate import generate

    return generate(params, inputs, outputs, context)


def check(params: GeneratorParams, checks: Checks) -> None:
    """Look at what is given."""
    from tuneline_generator.check import check_given

    check_given(params, checks)


def plan(params: GeneratorParams, plans: Plans) -> Iterable[Forecast]:
    """Say what calls to models will take."""
    from tuneline_generator.plan import plan_writing

    return plan_writing(params, plans)


STAGE = Stage(
    "generator", 8, GeneratorParams, GeneratorInputs, GeneratorOutputs, run, check=check, plan=plan, parts=True,
    variants={"pilot": without("pilot", "pilot_prompts")},
)  # fmt: skip


def main() -> None:
    """Run the stage from the command line."""
    from tuneline.commands.stage import stage_main

    stage_main(STAGE)
