"""What can be known before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from tuneline.data.io import write_lines
from tuneline.data.reading.prompts import Prompt
from tuneline.llm.completion import CompletionConfig, Sampler, refuse_unsayable
from tuneline.llm.config import ModelConfig
from tuneline.stage import Checks
from tuneline_generator.critic.by_judge import read_bench
from tuneline_generator.critic.critic_client import JudgeCritic, load_critic
from tuneline_generator.prepare import read_held_out, read_pilot, read_players
from tuneline_generator.recipes.scripts import (
    has_profile,
    read_sources,
    refuse_all_set_aside,
    refuse_no_profile,
    with_prompt,
)
from tuneline_generator.report.wording import projected
from tuneline_generator.stage import GeneratorParams
from tuneline_generator.writing.items import id_of
from tuneline_generator.writing.recipe import (
    ConversationsRecipe,
    InstructionsRecipe,
    Recipe,
    ScriptsRecipe,
    load_recipe,
)
from tuneline_generator.writing.talk import untold
from tuneline_generator.writing.writer import Form, WriterConfig, load_writer


def check_given(params: GeneratorParams, checks: Checks) -> None:
    """Read recipe, writer, critic and what is held out."""
    recipe = checks.read("recipe", load_recipe)
    if isinstance(recipe, ScriptsRecipe):
        _check_scripts(recipe, checks)
    if recipe:
        # A model that another step makes is not there yet.
        writer = checks.read("writer", load_writer, recipe.format, checks.inputs.get("writer_model"), later=True)
        with checks.about("recipe"):
            _check_samplers(writer, [step.sampler for step in recipe.steps.values()], recipe.format, checks)
        stand_ins = (
            Prompt(id=id_of("test", n), prompt=f"Prompt {n}, not written yet.") for n in range(recipe.test_prompts)
        )
        write_lines(checks.preview("prompts"), stand_ins)
        _note(recipe, checks)
    critic = checks.read("critic", load_critic)
    if isinstance(critic, JudgeCritic):
        with checks.about("critic"):
            read_bench(checks.inputs.get("judge"), checks.inputs.get("rubric"), checks.secret)
    held_out = checks.read("held_out", read_held_out)
    if held_out:
        checks.note(f"{len(held_out):,} prompts are held out")
    _check_pilot(params, checks)


def _check_pilot(params: GeneratorParams, checks: Checks) -> None:
    """Look whether a pilot that is given allows the rest; only of one that a workflow makes itself, parts are pods."""
    if (checks.origin("pilot") or "output:").startswith("output:"):
        return
    pilot = checks.read("pilot", read_pilot, params)
    if pilot and pilot.projection:
        checks.note(f"as the given pilot found it: {projected(pilot.projection)}")
        if (parts := pilot.projection.parts) > 1:
            checks.warn(
                "pilot",
                f"it finds {parts} parts to be worth it, but a workflow does all in one pod where the pilot is given; "
                "leave `pilot` and `pilot_prompts` out: what it has written is found in the same store, not paid again",
            )


def _check_scripts(recipe: ScriptsRecipe, checks: Checks) -> None:
    """Read sources and prompt; what a calibration of this run will find has {profile}."""
    sources = checks.read("script_sources", read_sources)
    if sources is not None:
        checks.note(f"recipe: scripts about {len(sources):,} sources, of which {recipe.test_prompts:,} are set aside")
        with checks.about("recipe"):
            refuse_all_set_aside(recipe, len(sources))
    elif checks.origin("script_sources") is None:
        with checks.about("recipe"):
            read_sources(None)
    found = checks.read("script_prompt", lambda path: with_prompt(recipe, path))
    origin = checks.origin("script_prompt") or ""
    if (origin.startswith("output:calibrator") or has_profile(found or recipe)) and not checks.origin("script_profile"):
        with checks.about("script_profile"):
            refuse_no_profile()


def _check_samplers(writer: WriterConfig | None, samplers: Sequence[Sampler], form: Form, checks: Checks) -> None:
    """Refuse what a dialect cannot say; warn of what a server that is talked with is not told."""
    if isinstance(writer, CompletionConfig):
        for sampler in samplers:
            refuse_unsayable(writer, sampler)
    elif form == "chat" and isinstance(writer, ModelConfig) and (names := untold(writer, samplers)):
        checks.warn("recipe", f"the writer is not told {' and '.join(names)}: its protocol has no such setting")


def _note(recipe: Recipe, checks: Checks) -> None:
    """Say what the recipe has, and read who talks in conversations."""
    if isinstance(recipe, ConversationsRecipe):
        with checks.about("recipe"):
            players = read_players(recipe, checks.inputs.get("personas"), checks.inputs.get("simulator"))
            checks.note(f"recipe: {recipe.turns} turns with each of {len(players.personas)} personas in turn")
        return
    if isinstance(recipe, ScriptsRecipe):
        return
    examples = f", {len(recipe.examples)} examples" if isinstance(recipe, InstructionsRecipe) else ""
    checks.note(f"recipe: {len(recipe.categories)} categories{examples}")
