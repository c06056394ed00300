"""Writes the rows of a recipe: as a pilot, as a part, or all of them."""

from __future__ import annotations

from tuneline.errors import UserError
from tuneline.stage import Context, Metrics
from tuneline_generator.stage import GeneratorInputs, GeneratorOutputs, GeneratorParams


def generate(params: GeneratorParams, inputs: GeneratorInputs, outputs: GeneratorOutputs, context: Context) -> Metrics:
    """Write the rows and say what they are worth. Raises UserError for a recipe or a writer that cannot be used."""
    raise UserError("generator: this recipe has no writer yet")
