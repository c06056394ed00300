"""What writer, critic, judge and simulated users will take, before anything is written.

An instruction and its response are taken to be as long as the recipe's examples, which say what the rows are to be. How
many items it takes nobody knows before the pilot: until then every one is taken to be kept. What the pilot writes, the
whole finds, so the whole is planned without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from statistics import fmean
from typing import NamedTuple

from tuneline.data.io import read_record
from tuneline.data.personas import load_personas
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError
from tuneline.judge.by_model import models_among
from tuneline.judge.forecast import answer_tokens, prompt_tokens
from tuneline.judge.simulators.played import as_played
from tuneline.judge.simulators.simulator import load_simulator
from tuneline.llm.config import ModelConfig
from tuneline.llm.forecast import ANSWER_TOKENS, USER_TOKENS, Expected, forecast
from tuneline.llm.token_counts import MESSAGE_TOKENS, count_in_messages, count_tokens
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Forecast, Plans, Usage
from tuneline_generator.critic.by_judge import read_bench
from tuneline_generator.critic.critic import MOST_PAIRS, LogprobCritic
from tuneline_generator.critic.critic_client import JudgeCritic, load_critic, server_of
from tuneline_generator.prepare import projected_again
from tuneline_generator.recipes.instructions import Asked, asked_for_instruction, asked_for_response
from tuneline_generator.recipes.scripts import read_sources, with_prompt
from tuneline_generator.report.found import Quality
from tuneline_generator.report.projection import items_for
from tuneline_generator.report.wording import projected
from tuneline_generator.stage import GeneratorParams
from tuneline_generator.work import MORE_PROMPTS
from tuneline_generator.writing.recipe import (
    ConversationsRecipe,
    DocumentsRecipe,
    InstructionsRecipe,
    Recipe,
    ScriptsRecipe,
    load_recipe,
)
from tuneline_generator.writing.writer import TextServer, WriterConfig, load_writer

IDEA_TOKENS, RESPONSE_TOKENS = 120, 500
"""Where nothing shows it: of an idea, and of a response to a document."""
TOKENS_PER_WORD = 4 / 3


class Call(NamedTuple):
    """A call that each item takes."""

    input: int
    output: int
    per_item: float = 1.0
    of_prompt: bool = False
    """Whether a test prompt takes it, too."""


class Row(NamedTuple):
    """What is known of an item before it is written: its calls to the writer, and the tokens of what is learnt."""

    calls: list[Call]
    tokens: int
    exchanges: int = 1


def plan_writing(params: GeneratorParams, plans: Plans) -> Iterator[Forecast]:
    """Count what all models will be sent that are not served here."""
    recipe = plans.read("recipe", load_recipe)
    if recipe is None:
        return
    writer = plans.read("writer", load_writer, recipe.format, plans.inputs.get("writer_model"), later=True)
    row, items = row_of(recipe, plans), _items(params, plans)
    if row is None or writer is None:
        return
    aside = math.ceil(recipe.test_prompts * MORE_PROMPTS) if plans.variant else 0
    if isinstance(writer, ModelConfig):
        wanted = [(one, math.ceil(items * one.per_item) + one.of_prompt * math.ceil(aside * one.per_item))
                  for one in row.calls]  # fmt: skip
        yield _of("generator", _billed(writer, plans), wanted, params.concurrency)
    if isinstance(recipe, ConversationsRecipe):
        yield from _simulated(params, plans, recipe, items)
    yield from _critics(params, plans, recipe, writer, row, items)


def row_of(recipe: Recipe, plans: Plans) -> Row | None:
    """Return what an item of a recipe takes; None where what it is about cannot be read."""
    if isinstance(recipe, InstructionsRecipe):
        return _of_instructions(recipe)
    system = plans.read("system_prompt", read_system_prompt)
    before = count_tokens(system) + MESSAGE_TOKENS if system else 0
    if isinstance(recipe, DocumentsRecipe):
        return _of_documents(recipe, before)
    if isinstance(recipe, ConversationsRecipe):
        return _of_conversations(recipe, before)
    return _of_scripts(recipe, plans, before)


def _of_instructions(recipe: InstructionsRecipe) -> Row:
    asked = round(fmean(count_tokens(one.instruction) for one in recipe.examples))
    said = round(fmean(count_tokens(one.response) for one in recipe.examples))
    shots, category = recipe.examples[: recipe.shots], recipe.categories[0]
    first = asked_for_instruction(recipe, shots, category)
    second = asked_for_response(recipe, shots, category, recipe.examples[0].instruction)
    calls = [
        Call(_read(first), min(asked, recipe.instruction.max_tokens), of_prompt=True),
        Call(_read(second), min(said, recipe.response.max_tokens)),
    ]
    return Row(calls, asked + said)


def _read(asked: Asked) -> int:
    return count_tokens(asked.sent) + count_in_messages(asked.before)


def _of_documents(recipe: DocumentsRecipe, before: int) -> Row:
    words = (recipe.shortest_words + recipe.longest_words) / 2
    document = min(round(words * TOKENS_PER_WORD), recipe.document.max_tokens)
    ideas = min(recipe.ideas_per_call * IDEA_TOKENS, recipe.idea.max_tokens)
    said = min(RESPONSE_TOKENS, recipe.response.max_tokens)
    calls = [
        Call(count_tokens(recipe.idea.prompt), ideas, 1 / recipe.ideas_per_call, of_prompt=True),
        Call(count_tokens(recipe.document.prompt) + IDEA_TOKENS, document, of_prompt=True),
        Call(before + count_tokens(recipe.response.prompt) + document, said),
    ]
    return Row(calls, document + said)


def _of_conversations(recipe: ConversationsRecipe, before: int) -> Row:
    said, exchange = min(ANSWER_TOKENS, recipe.answer.max_tokens), _exchange(recipe)
    asked = before + count_tokens(recipe.answer.prompt) + USER_TOKENS
    return Row(
        [Call(asked + turn * exchange, said) for turn in range(recipe.turns)], recipe.turns * exchange, recipe.turns
    )


def _exchange(recipe: ConversationsRecipe) -> int:
    return USER_TOKENS + min(ANSWER_TOKENS, recipe.answer.max_tokens) + 2 * MESSAGE_TOKENS


def _of_scripts(recipe: ScriptsRecipe, plans: Plans, before: int) -> Row | None:
    sources = plans.read("script_sources", read_sources)
    recipe = plans.read("script_prompt", lambda path: with_prompt(recipe, path)) or recipe
    if not sources:
        return None
    about = round(fmean(count_tokens(source.text) for source in sources))
    said = min(about, recipe.response.max_tokens)
    return Row([Call(before + count_tokens(recipe.response.prompt) + about, said)], about + said)


def _items(params: GeneratorParams, plans: Plans) -> int:
    """Return how many items are to be written in this step."""
    if plans.variant:
        return params.pilot
    given = plans.inputs.get("pilot")
    made = given or plans.made("generator@pilot", "quality")
    if made is None:
        count = max(params.pilot, items_for(params.count, 1.0, params.oversample))
        plans.note(f"{count:,} items if each is kept; how many are, the pilot says")
        return count - params.pilot
    pilot = projected_again(read_record(made, Quality), params)
    if pilot.projection is None:
        return 0
    plans.note(
        f"as the pilot found it: {projected(pilot.projection)}, the pilot's own {pilot.items:,} items among them"
    )
    return pilot.projection.items - (0 if given else pilot.items)


def _billed(server: ModelConfig, plans: Plans) -> ModelConfig:
    """Return a server as its tokens are billed; one by the hour bills none."""
    if isinstance(server, TextServer) and server.usd_per_hour is not None:
        plans.note(
            f"{server.model} costs ${server.usd_per_hour:g} an hour, which the pilot measures and is left out here"
        )
        return server.model_copy(update={"input_usd": 0.0, "output_usd": 0.0})
    return server


def _of(role: str, server: ModelConfig, wanted: Sequence[tuple[Call, int]], at_once: int) -> Forecast:
    """Return what so many of each call take."""
    calls = sum(count for _, count in wanted)
    inputs = list(chain.from_iterable(repeat(call.input, count) for call, count in wanted))
    output = sum(call.output * count for call, count in wanted) / calls if calls else 0.0
    return forecast(server, role, server.model, Expected(inputs, output), Usage(), at_once)


def _simulated(params: GeneratorParams, plans: Plans, recipe: ConversationsRecipe, items: int) -> Iterator[Forecast]:
    personas, simulator = plans.read("personas", load_personas), plans.read("simulator", load_simulator)
    if personas and isinstance(simulator, ModelConfig):
        card = count_in_messages(as_played(personas[0], []))
        calls = [(Call(card + turn * _exchange(recipe), USER_TOKENS), items) for turn in range(recipe.turns)]
        yield _of("simulator", simulator, calls, params.concurrency)


def _critics(
    params: GeneratorParams, plans: Plans, recipe: Recipe, writer: WriterConfig, row: Row, items: int
) -> Iterator[Forecast]:
    critic = plans.read("critic", load_critic)
    if isinstance(critic, LogprobCritic) and isinstance(recipe, InstructionsRecipe):
        model, example = plans.inputs.get("critic_model") or plans.inputs.get("writer_model"), recipe.examples[0]
        asked = Call(count_tokens(critic.asked(example.instruction, example.response)), 1)
        moved = min(MOST_PAIRS, items) if plans.variant else 0
        with suppress(UserError):  # what is wrong with it, the check says
            server = server_of(critic, writer, model)
            if isinstance(server, ModelConfig):
                yield _of("critic", _billed(server, plans), [(asked, items + moved)], 1)
    elif isinstance(critic, JudgeCritic):
        with suppress(UserError):
            bench = read_bench(plans.inputs.get("judge"), plans.inputs.get("rubric"), plans.secret)
            criteria, blank = bench.rubric.asked(), Transcript("t", (Exchange("", ""),) * row.exchanges)
            asked = Call(prompt_tokens(criteria, blank) + row.tokens, round(answer_tokens(criteria)))
            for judge in models_among(bench.judge, bench.rubric):
                yield _of("judge", judge.config, [(asked, items)], params.concurrency)
