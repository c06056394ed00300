"""The contract between a stage and everything that runs it.

A stage is a plain function over local paths::

    def run(params: SlicerParams, inputs: SlicerInputs, outputs: SlicerOutputs, context: Context) -> Metrics

It never talks to a store, reads the environment, parses arguments or knows a scheduler: the runner fetches its inputs,
publishes its outputs and turns its exceptions into exit codes. Where an input comes from is said once, in the
stage's `Inputs`; the order of the stages follows from that and from nothing else.

It raises UserError or Temporary (`tuneline.errors`); anything else is a bug. What can be known to be wrong from what a
run file gives, its `check` says before any stage starts::

    def check(params: SlicerParams, checks: Checks) -> None
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import Field

from tuneline.stage.context import Checks, Context, Journal, Memory, Place, Plans
from tuneline.stage.money import Account, Cost, Forecast, Spent, Usage, dollars, rounded, span
from tuneline.stage.ports import (
    InputPort,
    Inputs,
    OutputKind,
    OutputPort,
    Outputs,
    Params,
    file_name,
    folder_name,
    found,
    given,
    input_port,
    output_of,
    output_port,
    pace,
    page,
    without,
)
from tuneline.stage.records import Closed, InputRecord, Json, Maker, Part

__all__ = [
    "Account", "AnyStage", "Checks", "Closed", "Context", "Cost", "Forecast", "InputPort", "InputRecord", "Inputs",
    "Journal", "Json", "Maker", "Memory", "Metrics", "OutputKind", "OutputPort", "Outputs", "Params", "Part", "Place",
    "Plans", "Spent", "Stage", "Usage", "dollars", "file_name", "folder_name", "found", "given", "installed_stages",
    "output_of", "pace", "page", "rounded", "span", "without",
]  # fmt: skip


class Metrics(Closed):
    """What a stage reports about its work. How long it took is the runner's to say."""

    headline: str
    """What came out, in one line for people."""
    counts: dict[str, Json] = Field(default_factory=dict)
    """Figures and short facts by name."""
    cost: Cost = Cost()
    """What calls to models cost."""


P = TypeVar("P", bound=Params)
I = TypeVar("I", bound=Inputs)  # noqa: E741
O = TypeVar("O", bound=Outputs)  # noqa: E741


@dataclass(frozen=True)
class Stage(Generic[P, I, O]):
    """One step with one job. Raise `version` when the same inputs and params would give other results."""

    name: str
    version: int
    params: type[P]
    inputs: type[I]
    outputs: type[O]
    run: Callable[[P, I, O, Context], Metrics]
    variants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    parts: bool = False
    """Whether several processes may share the work by `--part`: a part only fills journals, the stage is the merge."""
    check: Callable[[P, Checks], None] | None = None
    """Says what is wrong with what is given. It takes seconds, writes nothing and imports only what is light."""
    plan: Callable[[P, Plans], Iterable[Forecast]] | None = None
    """Says what calls to models will take, after `check`."""

    @property
    def sharded(self) -> bool:
        """Whether its work is split into several results, as its parameter `shards` says."""
        return any(port.split for port in self.input_ports())

    @property
    def takes_runs(self) -> bool:
        """Whether it takes a run as it is, instead of being a step of one."""
        return any(port.found for port in self.input_ports())

    def input_ports(self, variant: str | None = None) -> tuple[InputPort, ...]:
        """Return the inputs in declared order, without those that `variant` does not have."""
        absent = self.variants[variant] if variant else frozenset()
        return tuple(input_port(n, f) for n, f in self.inputs.model_fields.items() if n not in absent)

    def output_ports(self) -> tuple[OutputPort, ...]:
        return tuple(output_port(n, f) for n, f in self.outputs.model_fields.items())


AnyStage = Stage[Any, Any, Any]


def installed_stages() -> dict[str, AnyStage]:
    """Return every stage whose package is installed, by name. Their heavy dependencies are not imported."""
    return {e.name: e.load() for e in sorted(entry_points(group="tuneline.stages"), key=lambda e: e.name)}
