"""Pipelines: names for goals, and the steps that lead to a goal.

A run has the steps that its goal needs and no others: a stage that is installed joins no run by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tuneline.engine.layout import Node
from tuneline.errors import UserError
from tuneline.stage import AnyStage, InputPort, Json, Part

PIPELINES = {
    "finetune": ("evaluator",),
    "synthesize": ("generator",),
    "calibrate": ("calibrator",),
    "publish": ("publisher",),
}
"""The steps that a pipeline ends in. A run without a goal is the first one."""


class Address(NamedTuple):
    """A given input that lies somewhere: an absolute path or a URI. Local files lie below one of `within`, if any."""

    uri: str
    within: tuple[Path, ...] = ()


REFUSED = Address("")
"""A value that was refused, in a run that is checked and never started: it is there, so it is not missing."""


class Inline(NamedTuple):
    """A given input that stands in the run file itself."""

    content: Json


class OutputOf(NamedTuple):
    """An input that another step makes; in a run file `output:<node>/<port>`."""

    node: str
    port: str


Given: TypeAlias = Address | Inline | OutputOf


class Step(NamedTuple):
    """One step of a run: the stage that makes it, and the names of the steps whose results it reads."""

    node: Node
    stage: AnyStage
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.node)

    @property
    def variant(self) -> str | None:
        return self.node.variant

    @property
    def shard(self) -> Part | None:
        return self.node.shard

    def sources(self, given: Mapping[str, Given]) -> Iterator[tuple[InputPort, Given | None]]:
        """Yield each input and where it comes from: what is given takes the place of what a stage declares."""
        for port in self.stage.input_ports(self.variant):
            value = given.get(port.name)
            if isinstance(value, OutputOf):
                yield port._replace(optional=False), value
            else:
                yield port, OutputOf(port.stage, port.port) if value is None and port.stage else value

    def reads(self, given: Mapping[str, Given]) -> Iterator[tuple[InputPort, OutputOf]]:
        """Yield the inputs that other steps make for this one."""
        made = ((port, source) for port, source in self.sources(given) if isinstance(source, OutputOf))
        yield from ((port, source) for port, source in made if not port.found)


def steps_of(stages: Mapping[str, AnyStage]) -> dict[str, Step]:
    """Return every step that the stages and their variants can be, by name."""
    nodes = ((Node(name, variant), stage) for name, stage in stages.items() for variant in (None, *stage.variants))
    return {str(node): Step(node, stage) for node, stage in nodes}


def plan(stages: Mapping[str, AnyStage], given: Mapping[str, Given], goal: str | None = None) -> tuple[Step, ...]:
    """Return the steps that lead to `goal`, a step or a pipeline, in dependency order.

    The edges come from the stages' input ports and from `OutputOf` alike; any other given input needs no edge. An
    optional input that a stage makes is an edge only if that stage is part of the run anyway. Raises UserError.
    """
    steps = steps_of(stages)
    chosen: set[str] = set()
    todo = list(PIPELINES.get(goal, (goal,))) if goal else _default_goals(steps)
    while todo:
        name = todo.pop()
        if name not in steps:
            raise UserError(f"{name}: a stage of this run reads its output, but it is not installed")
        if name not in chosen:
            chosen.add(name)
            todo += [source.node for port, source in steps[name].reads(given) if not port.optional]
    return in_order({name: steps[name] for name in sorted(chosen)}, given)


def in_order(steps: Mapping[str, Step], given: Mapping[str, Given]) -> tuple[Step, ...]:
    """Return the steps in dependency order, each with those of them that it reads. Raises UserError for a cycle."""
    graph = {name: sorted({s.node for _, s in step.reads(given)} & steps.keys()) for name, step in steps.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as e:
        raise UserError(f"inputs: these stages wait for each other: {' ← '.join(e.args[1])}") from None
    return tuple(steps[name]._replace(needs=tuple(graph[name])) for name in order)


def with_shards(steps: Iterable[Step], count: Callable[[str], int]) -> tuple[Step, ...]:
    """Put the shards of each sharded stage in its place; `count` says how many a stage has."""
    found: list[Step] = []
    names: dict[str, list[str]] = {}
    for step in steps:
        of = count(step.stage.name) if step.stage.sharded else 0
        nodes = [step.node._replace(shard=Part(number, of)) for number in range(1, of + 1)] or [step.node]
        made = [step._replace(node=node) for node in nodes]
        names[step.name] = [one.name for one in made]
        needs = tuple(name for need in step.needs for name in names[need])
        found += [one._replace(needs=needs) for one in made]
    return tuple(found)


def _default_goals(steps: Mapping[str, Step]) -> list[str]:
    """Return the goals of the first pipeline; of stages outside of any, as in a script, those that nobody reads."""
    goals = next(iter(PIPELINES.values()))
    read = {source.node for step in steps.values() for _, source in step.reads({})}
    return list(goals) if steps.keys() >= set(goals) else [name for name in steps if name not in read]
