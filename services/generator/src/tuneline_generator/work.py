"""The desk: writer, critic and journals while they are open, and what is done with an item there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from tuneline.judge.simulators.simulator import open_simulator
from tuneline.model.system_prompt import read_system_prompt
from tuneline.stage import Context, Usage
from tuneline_generator.critic.critic import CriticTest
from tuneline_generator.critic.critic_client import Critic, open_critic
from tuneline_generator.fill import Filled, fill
from tuneline_generator.prepare import Prepared, read_players
from tuneline_generator.recipes.conversations import Conversations
from tuneline_generator.recipes.documents import Documents
from tuneline_generator.recipes.instructions import Written, write_prompt, write_response
from tuneline_generator.recipes.scripts import Scripts, read_material
from tuneline_generator.writing.guard import GuardCheck, control_words, guard, refuse_failed
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen
from tuneline_generator.writing.quality import Flaw, Rules, classify
from tuneline_generator.writing.recipe import ConversationsRecipe, DocumentsRecipe, InstructionsRecipe, ScriptsRecipe
from tuneline_generator.writing.rows import Row
from tuneline_generator.writing.tally import Tally
from tuneline_generator.writing.writer import Writer, open_writer

MORE_PROMPTS = 1.25
"""Test prompts that are written per prompt wanted; some are of no use."""


Author = Documents | Conversations | Scripts


class Desk(NamedTuple):
    """Does items."""

    prepared: Prepared
    context: Context
    writer: Writer
    critic: Critic | None
    rules: Rules
    guarded: list[GuardCheck]
    """What shows that a base model is written with as one; empty but in a pilot."""
    pen: Pen
    pool: ThreadPoolExecutor
    author: Author | None
    """Writes the items of such a recipe."""

    def fill(self, items: Sequence[Item]) -> Filled:
        """Write and judge items. Raises as `tuneline_generator.fill.fill` does."""
        return fill(items, self._row, self.pool, self.prepared.params.concurrency, self.context)

    def test_prompts(self, begin: int) -> Filled:
        """Write prompts to set aside, some more than are wanted, from number `begin` on."""
        count = math.ceil(self.prepared.recipe.test_prompts * MORE_PROMPTS)
        items = [Item(self.prepared.params.seed, "test", number) for number in range(begin, begin + count)]
        return fill(items, self._prompt, self.pool, self.prepared.params.concurrency, self.context)

    @property
    def found_s(self) -> float:
        """Seconds that it took whoever paid for what was found here."""
        return sum(tally.found_s for tally in self._tallies)

    @property
    def taken(self) -> Usage:
        """What writer and critic took, whoever paid for it."""
        return sum((tally.taken for tally in self._tallies), start=Usage())

    @property
    def _tallies(self) -> list[Tally]:
        return [self.pen.tally, self.critic.tally] if self.critic else [self.pen.tally]

    def _prompt(self, item: Item) -> Row:
        if isinstance(self.author, Documents | Scripts):
            return _row(item, *self.author.write_prompt(item))
        recipe = self.prepared.recipe
        assert isinstance(recipe, InstructionsRecipe)
        written = write_prompt(recipe, item, self.pen)
        finish = written.steps["instruction"].finish
        return _row(item, written, classify(written.prompt, None, self.rules, prompt_finish=finish))

    def _row(self, item: Item) -> Row:
        if self.author:
            return self._decided(_row(item, *self.author.write(item)))
        recipe, rules = self.prepared.recipe, self.rules
        assert isinstance(recipe, InstructionsRecipe)
        asked = write_prompt(recipe, item, self.pen)
        finish = asked.steps["instruction"].finish
        flaw = classify(asked.prompt, None, rules, prompt_finish=finish)
        if flaw:
            return _row(item, asked, flaw)
        written = write_response(recipe, item, self.pen, asked)
        text = written.steps["response"]
        flaw = classify(asked.prompt, written.response, rules, prompt_finish=finish, finish=text.finish)
        return self._decided(_row(item, written, flaw))

    def _decided(self, row: Row) -> Row:
        """Ask the critic, if there is one and the row is well-formed."""
        if self.critic is None or row.status != "kept":
            return row
        heard = self.critic.heard(row.prompt, row.response)
        return replace(row, margin=heard.margin, mass=heard.mass, missing=heard.missing, critic_usage=heard.usage)

    def test_critic(self, rows: Sequence[Row]) -> CriticTest | None:
        """Return how well the critic tells rows from moved ones; None without a critic, and for too few rows."""
        if self.critic is None:
            return None
        pairs = [(row.prompt, row.response) for row in rows if row.mass is not None]
        return self.critic.test(pairs, self.prepared.params.min_margin)


def _row(item: Item, written: Written, flaw: Flaw | None) -> Row:
    texts = written.steps.values()
    if any(text.finish == "content_filter" for text in texts):
        flaw = Flaw("blocked", "a filter of the writer's server ended the text")
    last = [*texts][-1] if written.talk else written.steps.get("response")
    return Row(
        item=item.number, status=flaw.status if flaw else "kept", detail=flaw.detail if flaw else "",
        category=written.category, prompt=written.prompt, response=written.response or "",
        finish=last.finish if last else "", tokens=last.tokens_out if last else 0,
        usage=sum((text.usage for text in texts), start=Usage()), how=written.how, talk=written.talk,
        simulated=written.simulated,
    )  # fmt: skip


@contextmanager
def open_desk(prepared: Prepared, context: Context) -> Iterator[Desk]:
    """Open what is needed. Raises UserError when the writer cannot be used."""
    params = prepared.params
    context.limit(prepared.scale.share_usd)
    # The writer hangs up first and the pool waits for its threads after that, also when this thread is told to stop.
    with (
        ThreadPoolExecutor(params.concurrency, thread_name_prefix="generator") as pool,
        open_writer(
            prepared.writer, prepared.inputs.writer_model, context,
            concurrency=params.concurrency, timeout_s=params.timeout_s,
        ) as writer,
    ):  # fmt: skip
        guarded = _guarded(prepared, writer) if prepared.pilot is None else []
        pen = Pen(writer, prepared.recipe.format, prepared.recipe.steps, context)
        control = control_words(writer.header) if writer.header else frozenset[str]()
        rules = replace(prepared.rules, control=control)
        with _critic(prepared, context) as critic, _author(prepared, pen, rules, context) as author:
            yield Desk(prepared, context, writer, critic, rules, guarded, pen, pool, author)


@contextmanager
def _author(prepared: Prepared, pen: Pen, rules: Rules, context: Context) -> Iterator[Author | None]:
    recipe, inputs, params = prepared.recipe, prepared.inputs, prepared.params
    if isinstance(recipe, DocumentsRecipe):
        yield Documents(recipe, pen, rules, read_system_prompt(inputs.system_prompt))
    elif isinstance(recipe, ScriptsRecipe):
        material = read_material(recipe, inputs)
        yield Scripts(recipe, pen, rules, material, read_system_prompt(inputs.system_prompt))
    elif isinstance(recipe, ConversationsRecipe):
        personas, config = read_players(recipe, inputs.personas, inputs.simulator)
        with open_simulator(config, context, timeout_s=params.timeout_s, concurrency=params.concurrency) as simulator:
            system = read_system_prompt(inputs.system_prompt)
            yield Conversations(recipe, pen, rules, personas, simulator, system)
    else:
        yield None


@contextmanager
def _critic(prepared: Prepared, context: Context) -> Iterator[Critic | None]:
    if prepared.critic is None:
        yield None
        return
    model = prepared.inputs.critic_model or prepared.inputs.writer_model
    timeout_s = prepared.params.timeout_s
    with open_critic(prepared.critic, prepared.writer, model, context, timeout_s=timeout_s) as critic:
        yield critic


def _guarded(prepared: Prepared, writer: Writer) -> list[GuardCheck]:
    """See that the writer takes what the recipe says, and that no chat template is in the way of a base model."""
    recipe = prepared.recipe
    writer.preflight([step.sampler for step in recipe.steps.values()])
    if recipe.format != "completion" or not isinstance(recipe, InstructionsRecipe):
        return []
    examples = [(one.instruction, one.response) for one in recipe.examples]
    checks = guard(writer, prepared.writer, examples, [step.prompt for step in recipe.steps.values()])
    refuse_failed(checks)
    return checks
