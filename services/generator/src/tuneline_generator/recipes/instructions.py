"""The recipe `instructions`: a model writes an instruction, and then the response to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.judged import Exchange
from tuneline.stage import Usage
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen, Text
from tuneline_generator.writing.recipe import Example, InstructionsRecipe, Step
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


ANYTHING = "a subject of your choice"
"""What the instructions of examples are about, where they are shown as turns."""


class Asked(NamedTuple):
    """What the writer is sent, behind turns that show examples."""

    sent: str
    before: list[dict[str, str]]


def asked_for_instruction(recipe: InstructionsRecipe, examples: Sequence[Example], category: str) -> Asked:
    """Return how an instruction is asked for."""
    shown, step = "".join(f"Instruction: {one.instruction}\n" for one in examples), recipe.instruction
    before = [(step.filled(category=ANYTHING), one.instruction) for one in examples]
    return Asked(step.filled(shots=shown, category=category), _turns(recipe, step, before))


def asked_for_response(
    recipe: InstructionsRecipe, examples: Sequence[Example], category: str, instruction: str
) -> Asked:
    """Return how the response to an instruction is asked for."""
    shown = "".join(f"Instruction: {one.instruction}\nResponse: {one.response}\n\n" for one in examples)
    step = recipe.response
    before = [(step.filled(category=ANYTHING, instruction=one.instruction), one.response) for one in examples]
    return Asked(
        step.filled(shots=shown, category=category, instruction=instruction), _turns(recipe, step, before)
    )  # fmt: skip


def _turns(recipe: InstructionsRecipe, step: Step, pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Return pairs as turns, for a model that is talked with and sees no examples in the prompt itself."""
    if recipe.format != "chat" or "shots" in step.places:
        return []
    said = ((("user", asked), ("assistant", answer)) for asked, answer in pairs)
    return [{"role": role, "content": text} for pair in said for role, text in pair]


def write_prompt(recipe: InstructionsRecipe, item: Item, pen: Pen) -> Written:
    """Write an instruction. Raises what `Pen.write` does."""
    shots = item.some(recipe.shots, len(recipe.examples))
    category, seed = item.of(recipe.categories), item.seed("instruction")
    sent, before = asked_for_instruction(recipe, [recipe.examples[place] for place in shots], category)
    text = pen.write("instruction", sent, seed, before=before)
    how = Provenance(item.stream, item.number, tuple(shots), {}, {}).followed_by("instruction", seed, sent)
    return Written(category, text.text.strip(), None, {"instruction": text}, how)


def write_response(recipe: InstructionsRecipe, item: Item, pen: Pen, asked: Written) -> Written:
    """Write the response to an instruction. Raises what `Pen.write` does."""
    examples, seed = [recipe.examples[place] for place in asked.how.shots], item.seed("response")
    sent, before = asked_for_response(recipe, examples, asked.category, asked.prompt)
    text = pen.write("response", sent, seed, before=before)
    how = asked.how.followed_by("response", seed, sent)
    return asked._replace(response=text.text.strip(), steps={**asked.steps, "response": text}, how=how)
