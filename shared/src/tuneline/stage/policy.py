"""The `gate` of a run file: what must hold of a comparison for its run to end well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field, model_validator

from tuneline.stage.records import Closed

Outcomes = Literal["better", "not worse"]


class Gate(Closed):
    """A policy. It is applied to what was found and changes no result, so that another one costs nothing."""

    require: Outcomes | None = "not worse"
    """What the verdict must be: `better`, or `not worse`, which `better` is too; null leaves it out."""
    critical: tuple[str, ...] = Field(default=(), max_length=200)
    """Criteria that the new model may fail with no more personas than the other one: one more says no."""
    supporting: tuple[str, ...] = Field(default=(), max_length=200)
    """Criteria that must not be shown worse: a loss beyond chance (Holm over those named here) says no."""
    advisory: tuple[str, ...] = Field(default=(), max_length=200)
    """Criteria that are told in the same way and decide nothing."""

    @model_validator(mode="after")
    def _each_once(self) -> Gate:
        names = list(self.names)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each criterion has one role; named twice: {', '.join(twice)}")
        return self

    @property
    def names(self) -> Iterator[str]:
        """Yield every criterion that it names."""
        yield from (*self.critical, *self.supporting, *self.advisory)

    def unknown(self, criteria: Iterable[str]) -> list[str]:
        """Return what it names and a rubric with these criteria does not have."""
        known = set(criteria)
        return [name for name in self.names if name not in known]
