"""Stages whose work several processes share: one in shards, which are results, and one in parts, which only pay."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tuneline.errors import Temporary, UserError
from tuneline.stage import (
    AnyStage,
    Context,
    Cost,
    Inputs,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    given,
    output_of,
    pace,
)


class TasterParams(Params):
    """How dishes are tasted."""

    shards: int = Field(default=1, ge=1)
    """Results that the work is split into."""
    fails: str = pace("")
    """A dish at which it stops, until this is changed."""


class TasterInputs(Inputs):
    """What is tasted."""

    dishes: Path = given("*.txt", split=True)
    """A folder with a file per dish."""


class TasterOutputs(Outputs):
    """What was found."""

    notes: Path = file_name("notes.txt")
    """A line per dish."""


def taste(params: TasterParams, inputs: TasterInputs, outputs: TasterOutputs, context: Context) -> Metrics:
    dishes = sorted(inputs.dishes.glob("*.txt"))
    for done, dish in enumerate(dishes):
        context.progress(done, len(dishes))
        if dish.stem == params.fails:
            raise UserError(f"{dish.name}: cannot be eaten")
    outputs.notes.write_text("".join(f"{dish.stem}: {dish.read_text()}\n" for dish in dishes))
    return Metrics(headline=f"{len(dishes)} dishes")


class MenuInputs(Inputs):
    """All shards at once."""

    notes: Path = output_of("taster")
    """A folder with a folder per shard."""


class MenuOutputs(Outputs):
    """The menu."""

    menu: Path = file_name("menu.txt")
    """All dishes in order."""


def write_menu(params: Params, inputs: MenuInputs, outputs: MenuOutputs, context: Context) -> Metrics:
    lines = sorted(line for file in inputs.notes.glob("*/notes.txt") for line in file.read_text().splitlines())
    outputs.menu.write_text("".join(f"{line}\n" for line in lines))
    return Metrics(headline=f"{len(lines)} dishes on the menu")


class WriterParams(Params):
    """How much is written."""

    count: int = 150
    """Items."""
    stop_after: int | None = pace(None)
    """Items after which a process gives up."""


class WriterInputs(Inputs):
    """What is written about."""

    topic: Path = given()
    """A topic."""


class WriterOutputs(Outputs):
    """What was written."""

    rows: Path = file_name("rows.txt")
    """A line per item."""


def write(params: WriterParams, inputs: WriterInputs, outputs: WriterOutputs, context: Context) -> Metrics:
    """Pay for the items of the part that no journal holds; without a part, for all, and write them down."""
    topic, journal, paid = inputs.topic.read_text(), context.journal("rows"), 0
    mine = context.part.share(params.count) if context.part else range(params.count)
    for done, item in enumerate(mine):
        context.progress(done, len(mine))
        if journal.get(str(item)) is None:
            if paid == params.stop_after:
                raise Temporary("gave up")
            journal.put(str(item), {"text": f"{topic} {item}"})
            paid += 1
    if context.part is None:
        rows = (journal.get(str(item)) or {} for item in mine)
        outputs.rows.write_text("".join(f"{row['text']}\n" for row in rows))
    cost = Cost(total_usd=0.001 * params.count, now_usd=0.001 * paid)
    return Metrics(headline=f"{len(mine)} items", counts={"paid": paid}, cost=cost)


STAGES: dict[str, AnyStage] = {
    "taster": Stage("taster", 1, TasterParams, TasterInputs, TasterOutputs, taste),
    "menu": Stage("menu", 1, Params, MenuInputs, MenuOutputs, write_menu),
    "writer": Stage("writer", 1, WriterParams, WriterInputs, WriterOutputs, write, parts=True),
}
