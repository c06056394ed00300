"""The recipe `instructions`: a model writes an instruction, and then the response to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.judged import Exchange
from tuneline.stage import Usage
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen, Text
from tuneline_generator.writing.recipe import Example, InstructionsRecipe
from tuneline_generator.writing.rows import Provenance


class Written(NamedTuple):
    """What was written for an item, before anybody has looked at it."""

    category: str
    prompt: str
    response: str | None
    """None: the prompt is all there is."""
    steps: dict[str, Text]
    how: Provenance
    talk: tuple[Exchange, ...] = ()
    """The exchanges, where it is a conversation."""
    simulated: Usage = Usage()
    """What its simulated user took."""


def shown_instructions(examples: Sequence[Example]) -> str:
    """Return what stands for {shots} where an instruction is asked for."""
    return "".join(f"Instruction: {one.instruction}\n" for one in examples)


def shown_pairs(examples: Sequence[Example]) -> str:
    """Return what stands for {shots} where a response is asked for."""
    return "".join(f"Instruction: {one.instruction}\nResponse: {one.response}\n\n" for one in examples)


def write_prompt(recipe: InstructionsRecipe, item: Item, pen: Pen) -> Written:
    """Write an instruction. Raises what `Pen.write` does."""
    shots = item.some(recipe.shots, len(recipe.examples))
    category, seed = item.of(recipe.categories), item.seed("instruction")
    shown = shown_instructions([recipe.examples[place] for place in shots])
    sent = recipe.instruction.filled(shots=shown, category=category)
    text = pen.write("instruction", sent, seed)
    how = Provenance(item.stream, item.number, tuple(shots), {}, {}).followed_by("instruction", seed, sent)
    return Written(category, text.text.strip(), None, {"instruction": text}, how)


def write_response(recipe: InstructionsRecipe, item: Item, pen: Pen, asked: Written) -> Written:
    """Write the response to an instruction. Raises what `Pen.write` does."""
    examples, seed = [recipe.examples[place] for place in asked.how.shots], item.seed("response")
    sent = recipe.response.filled(shots=shown_pairs(examples), category=asked.category, instruction=asked.prompt)
    text = pen.write("response", sent, seed)
    how = asked.how.followed_by("response", seed, sent)
    return asked._replace(response=text.text.strip(), steps={**asked.steps, "response": text}, how=how)
