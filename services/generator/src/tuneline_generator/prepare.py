"""Everything that is given, read and held against each other before anything is paid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import read_lines, read_record
from tuneline.data.judged import Looked
from tuneline.data.personas import Persona, load_personas
from tuneline.data.reading.prompts import Prompt, read_prompts
from tuneline.data.transcripts import read_transcripts
from tuneline.errors import UserError
from tuneline.judge.simulators.simulator import ScriptedConfig, SimulatorConfig, load_simulator
from tuneline.stage import Part, dollars
from tuneline_generator.critic.critic import LogprobCritic
from tuneline_generator.critic.critic_client import JudgeCritic, load_critic, server_of
from tuneline_generator.recipes.scripts import read_material, with_prompt
from tuneline_generator.report.bounds import rate
from tuneline_generator.report.found import Quality
from tuneline_generator.report.projection import Taken, project
from tuneline_generator.report.wording import mostly, refusal
from tuneline_generator.stage import GeneratorInputs, GeneratorParams
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.quality import MAX_CHARS, Rules
from tuneline_generator.writing.recipe import ConversationsRecipe, DocumentsRecipe, Recipe, ScriptsRecipe, load_recipe
from tuneline_generator.writing.writer import LocalConfig, WriterConfig, load_writer

CHARS_PER_TOKEN = 5
"""More characters than so many for each token that an answer may have are no answer of that length."""
SPEAKERS = ("User", "Human", "Assistant")
"""With one of these and a colon an answer goes on with the next message."""


class Scale(NamedTuple):
    """How much is to be done here."""

    items: int
    """Of all parts together."""
    mine: list[Item]
    share_usd: float | None
    """What may be spent on them here; None is without limit."""


class Prepared(NamedTuple):
    """What is given."""

    params: GeneratorParams
    inputs: GeneratorInputs
    recipe: Recipe
    rules: Rules
    writer: WriterConfig
    critic: LogprobCritic | None
    by_judge: bool
    """Whether a judge decides instead."""
    held_out: list[str]
    pilot: Quality | None
    """What the pilot found; None: this is the pilot."""
    pilot_prompts: list[Prompt]
    part: Part | None
    scale: Scale

    @property
    def looked(self) -> Looked:
        """Who says which rows are worth learning."""
        return "judge" if self.by_judge else "critic" if self.critic else "nobody"

    @property
    def at_once(self) -> int:
        """Items that are done at once."""
        concurrency = self.params.concurrency
        return min(concurrency, self.writer.slots) if isinstance(self.writer, LocalConfig) else concurrency


def prepare(params: GeneratorParams, inputs: GeneratorInputs, part: Part | None) -> Prepared:
    """Read everything. Raises UserError for whatever is wrong with it, and for a pilot that did not pass."""
    recipe = load_recipe(inputs.recipe)
    if isinstance(recipe, ScriptsRecipe):
        recipe = with_prompt(recipe, inputs.script_prompt)
        read_material(recipe, inputs)
    writer = load_writer(inputs.writer, recipe.format, inputs.writer_model)
    if isinstance(recipe, ConversationsRecipe):
        read_players(recipe, inputs.personas, inputs.simulator)
    critic = load_critic(inputs.critic) if inputs.critic else None
    if isinstance(critic, LogprobCritic):
        critic_server(critic, recipe, writer, inputs.critic_model or inputs.writer_model)
    held_out = read_held_out(inputs.held_out) if inputs.held_out else []
    if inputs.pilot is None and part:
        raise UserError(f"--part {part}: the pilot is not done in parts")
    pilot = read_pilot(inputs.pilot, params) if inputs.pilot else None
    prompts = list(read_lines(inputs.pilot_prompts, Prompt)) if inputs.pilot_prompts else []
    rules = rules_of(recipe, params)
    together = recipe.ideas_per_call if isinstance(recipe, DocumentsRecipe) else 1
    scale = scale_of(params, pilot, part, together)
    by_judge, critic = isinstance(critic, JudgeCritic), critic if isinstance(critic, LogprobCritic) else None
    return Prepared(params, inputs, recipe, rules, writer, critic, by_judge, held_out, pilot, prompts, part, scale)


def critic_server(critic: LogprobCritic, recipe: Recipe, writer: WriterConfig, model: Path | None) -> WriterConfig:
    """Return where a critic is asked. Raises UserError where it cannot look at what is written, and as `server_of`."""
    if isinstance(recipe, ConversationsRecipe):
        raise UserError("critic: `logprob` looks at one answer; of conversations a `judge` says what they are worth")
    return server_of(critic, writer, model)


def rules_of(recipe: Recipe, params: GeneratorParams) -> Rules:
    """Return what the recipe takes for a flaw."""
    if isinstance(recipe, DocumentsRecipe | ScriptsRecipe):
        return Rules(max_chars=None, prompt_words=None, keep_cut=params.keep_cut)
    if isinstance(recipe, ConversationsRecipe):
        return Rules(labels=SPEAKERS, max_chars=None, prompt_words=None, keep_cut=params.keep_cut)
    headings = any("###" in stop for step in recipe.steps.values() for stop in step.stop)
    max_chars = max(MAX_CHARS, CHARS_PER_TOKEN * recipe.response.max_tokens)
    return Rules(labels=recipe.labels, headings=headings, max_chars=max_chars, keep_cut=params.keep_cut)


class Players(NamedTuple):
    """Who talks, and who speaks for them."""

    personas: list[Persona]
    simulator: SimulatorConfig


def read_players(recipe: ConversationsRecipe, personas: Path | None, simulator: Path | None) -> Players:
    """Read who talks. Raises UserError for what is missing, and for scripts where they are not allowed."""
    if personas is None:
        raise UserError("recipe: `conversations` needs the input `personas`; give it")
    config = load_simulator(simulator)
    if isinstance(config, ScriptedConfig) and not recipe.allow_scripted:
        raise UserError(
            "recipe: scripted users say their lines whatever they are answered, which is nothing to learn from; give "
            "the input `simulator`, or set `allow_scripted: true` to try things out"
        )
    return Players(load_personas(personas), config)


def read_held_out(path: Path) -> list[str]:
    """Return what nothing may overlap with: prompts, or what users say in transcripts.

    Raises UserError that lists what is wrong with what the file rather holds.
    """
    try:
        return [one.prompt for one in read_prompts(path).prompts]
    except UserError as of_prompts:
        try:
            transcripts = read_transcripts(path, tools="drop").transcripts
        except UserError as of_transcripts:
            raise min(of_prompts, of_transcripts, key=lambda e: str(e).count("\n")) from None
    return [said.user for transcript in transcripts for said in transcript.exchanges]


def read_pilot(path: Path, params: GeneratorParams) -> Quality:
    """Read what a pilot found, projected to these parameters. Raises UserError for one that does not allow the rest."""
    pilot = projected_again(read_record(path, Quality), params)
    refuse_pilot(pilot, params)
    return pilot


def projected_again(pilot: Quality, params: GeneratorParams) -> Quality:
    """Return a pilot with what the whole will take by these parameters: one that is given may be of another count."""
    seen = pilot.projection
    if seen is None or seen.items == 0:
        return pilot
    each_s = seen.hours * seen.parts * 3600 / seen.items
    taken = Taken(pilot.items, pilot.kept, each_s * pilot.items, pilot.rows_usd)
    again = project(params, taken, rate(pilot.kept, pilot.items).low)
    return pilot.model_copy(update={"projection": again})


def refuse_pilot(pilot: Quality, params: GeneratorParams) -> None:
    """Raise UserError unless the pilot has shown that the whole is worth it and within its limits."""
    look = "Look at the rows in its page (`tuneline open`, generated.html), then change recipe, writer or `gates`."
    if pilot.refused:
        count = len({*pilot.refused, *(gate.name for gate in pilot.gates)})
        head = f"The pilot did not pass {len(pilot.refused)} of {count} gates:"
        raise UserError("\n".join([head, *refusal(pilot), look]))
    seen = pilot.projection
    if seen is None:
        raise UserError(f"The pilot kept none of its {pilot.items} items: {mostly(pilot)}. {look}")
    if params.max_usd is not None and seen.usd is not None and seen.usd > params.max_usd:
        raise UserError(
            f"max_usd: {seen.items:,} items will cost about {dollars(seen.usd)}, and `max_usd` is "
            f"{dollars(params.max_usd)}; raise it, or lower `count`."
        )
    if params.max_hours is not None and seen.hours > params.max_hours:
        raise UserError(
            f"max_hours: {seen.items:,} items will take about {seen.hours:.1f} hours in {seen.parts} parts, and "
            f"`max_hours` is {params.max_hours:g}; raise it or `concurrency`, or lower `count`."
        )


def scale_of(params: GeneratorParams, pilot: Quality | None, part: Part | None, together: int = 1) -> Scale:
    """Return the items to do here, and the share of the money that is theirs; no part divides `together` items."""
    if pilot is None or pilot.projection is None:
        return Scale(
            params.pilot, [Item(params.seed, "train", number) for number in range(params.pilot)], params.max_usd
        )
    count = pilot.projection.items
    groups = part.share(math.ceil(count / together)) if part else range(count)
    numbers = range(groups.start * together, min(count, groups.stop * together))
    mine = [Item(params.seed, "train", number) for number in numbers]
    if params.max_usd is None or pilot.usd is None or pilot.rows_usd is None:
        return Scale(count, mine, None)
    left = max(0.0, params.max_usd - (pilot.usd - pilot.rows_usd))  # tests were paid beside the rows
    return Scale(count, mine, left * len(mine) / count)
