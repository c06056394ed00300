"""What can be known before anything is written."""

from __future__ import annotations

from tuneline.stage import Checks
from tuneline_generator.prepare import read_held_out
from tuneline_generator.recipe import load_recipe
from tuneline_generator.stage import GeneratorParams
from tuneline_generator.writer import load_writer


def check_given(params: GeneratorParams, checks: Checks) -> None:
    """Read recipe, writer and what is held out."""
    recipe = checks.read("recipe", load_recipe)
    if recipe:
        # A model that another step makes is not there yet.
        checks.read("writer", load_writer, recipe.format, checks.inputs.get("writer_model"), later=True)
        checks.note(f"recipe: {len(recipe.categories)} categories, {len(recipe.examples)} examples")
    held_out = checks.read("held_out", read_held_out)
    if held_out:
        checks.note(f"{len(held_out):,} prompts are held out")
