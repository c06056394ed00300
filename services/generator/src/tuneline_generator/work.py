"""The desk: writer, critic and journals while they are open, and what is done with an item there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from tuneline.stage import Context, Usage
from tuneline_generator.budget import Budget
from tuneline_generator.fill import Filled, fill
from tuneline_generator.instructions import Written, write_prompt, write_response
from tuneline_generator.items import Item
from tuneline_generator.pen import Pen
from tuneline_generator.prepare import Prepared
from tuneline_generator.quality import Flaw, classify
from tuneline_generator.rows import Row
from tuneline_generator.writer import Writer, open_writer

MORE_PROMPTS = 1.25
"""Test prompts that are written per prompt wanted; some are of no use."""


class Desk(NamedTuple):
    """Does items."""

    prepared: Prepared
    context: Context
    writer: Writer
    pen: Pen
    budget: Budget
    pool: ThreadPoolExecutor

    def fill(self, items: Sequence[Item]) -> Filled:
        """Write and judge items. Raises as `tuneline_generator.fill.fill` does."""
        return fill(items, self._row, self.pool, self.prepared.params.concurrency, self.context)

    def test_prompts(self) -> Filled:
        """Write the prompts that are set aside."""
        count = math.ceil(self.prepared.recipe.test_prompts * MORE_PROMPTS)
        items = [Item(self.prepared.params.seed, "test", number) for number in range(count)]
        return fill(items, self._prompt, self.pool, self.prepared.params.concurrency, self.context)

    @property
    def usd(self) -> float | None:
        """What all of it took; None: a price is not known."""
        return round(self.budget.spent_usd, 9) if self.pen.priced else None

    def _prompt(self, item: Item) -> Row:
        written = write_prompt(self.prepared.recipe, item, self.pen)
        finish = written.steps["instruction"].finish
        flaw = classify(written.prompt, None, self.prepared.rules, prompt_finish=finish)
        return _row(item, written, flaw)

    def _row(self, item: Item) -> Row:
        recipe, rules = self.prepared.recipe, self.prepared.rules
        asked = write_prompt(recipe, item, self.pen)
        finish = asked.steps["instruction"].finish
        flaw = classify(asked.prompt, None, rules, prompt_finish=finish)
        if flaw:
            return _row(item, asked, flaw)
        written = write_response(recipe, item, self.pen, asked)
        text = written.steps["response"]
        flaw = classify(asked.prompt, written.response, rules, prompt_finish=finish, finish=text.finish)
        return _row(item, written, flaw)


def _row(item: Item, written: Written, flaw: Flaw | None) -> Row:
    texts = written.steps.values()
    if any(text.finish == "content_filter" for text in texts):
        flaw = Flaw("blocked", "a filter of the writer's server ended the text")
    last = written.steps.get("response")
    return Row(
        item=item.number, status=flaw.status if flaw else "kept", detail=flaw.detail if flaw else "",
        category=written.category, prompt=written.prompt, response=written.response or "",
        finish=last.finish if last else "", tokens=last.tokens_out if last else 0,
        usage=sum((text.usage for text in texts), start=Usage()), seconds=round(sum(t.seconds for t in texts), 3),
        how=written.how,
    )  # fmt: skip


@contextmanager
def open_desk(prepared: Prepared, context: Context) -> Iterator[Desk]:
    """Open what is needed. Raises UserError when the writer cannot be used."""
    params, budget = prepared.params, Budget(prepared.scale.share_usd)
    # The writer hangs up first and the pool waits for its threads after that, also when this thread is told to stop.
    with (
        ThreadPoolExecutor(params.concurrency, thread_name_prefix="generator") as pool,
        open_writer(
            prepared.writer, prepared.inputs.writer_model, context,
            concurrency=params.concurrency, timeout_s=params.timeout_s,
        ) as writer,
    ):  # fmt: skip
        pen = Pen(writer, prepared.recipe.format, prepared.recipe.steps, context, budget)
        yield Desk(prepared, context, writer, pen, budget, pool)
