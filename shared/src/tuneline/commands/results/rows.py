"""Typed rows of a run's results, from any store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from tuneline.data.conversations import Arm, Conversation
from tuneline.data.io import Closed, read_lines, read_record
from tuneline.data.slices import Slice
from tuneline.data.verdicts import Verdict
from tuneline.engine.records import Manifest
from tuneline.engine.rows import RowReader
from tuneline.errors import UserError
from tuneline.store.base import Store

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R", bound=BaseModel)
T = TypeVar("T")


class ArmVerdict(Verdict):
    """A verdict of the evaluator: with the conversation that it is about."""

    conversation: str
    """`<persona>/<trial>/<arm>`."""
    arm: Arm
    persona: str
    """Id of the persona or prompt."""
    trial: int
    """From 0."""


class ComparisonRow(Closed):
    """One figure of a comparison: shares between 0 and 1, differences are finetuned minus base."""

    kind: Literal["score", "category", "criterion", "gate", "persona"]
    id: str
    personas: int
    """Personas (or prompts) with a figure in both arms."""
    base: float | None
    finetuned: float | None
    difference: float | None
    p: float | None = None
    """Two-sided sign-flip p; of categories and criteria Holm-adjusted."""


class Rows(Sequence[R], Generic[R]):
    """Rows of one output, in the order of its file."""

    def __init__(self, kind: type[R], rows: Sequence[R]) -> None:
        self._kind, self._rows = kind, rows

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[R]: ...
    def __getitem__(self, place: int | slice) -> R | Sequence[R]:
        return self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a column for each field; nested fields stay lists and dicts.

        Raises UserError where pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise UserError("to_pandas() needs pandas: `pip install pandas`") from None
        return pd.DataFrame([row.model_dump() for row in self._rows], columns=list(self._kind.model_fields))


class _Group(BaseModel):
    """Of a row of comparison.json, what every version of it has."""

    model_config = ConfigDict(extra="ignore")

    id: str
    personas: int = 1
    base_mean: float | None = None
    finetuned_mean: float | None = None
    base_rate: float | None = None
    finetuned_rate: float | None = None
    difference: float | None = None
    p_holm: float | None = None


class _Effect(BaseModel):
    model_config = ConfigDict(extra="ignore")

    personas: int
    mean_difference: float | None
    sign_flip_p: float | None


class _Counts(BaseModel):
    model_config = ConfigDict(extra="ignore")

    conversations: int = 0
    scored: int = 0
    mean_score: float | None


class _Named(BaseModel):
    model_config = ConfigDict(extra="ignore")

    arm: str
    file: str | None = None
    endpoint: str | None = None


class Compared(BaseModel):
    """Of comparison.json, what is read here; a newer one may say more."""

    model_config = ConfigDict(extra="ignore")

    outcome: str
    score: _Effect
    base: _Counts
    finetuned: _Counts
    personas: list[_Group]
    categories: list[_Group]
    criteria: list[_Group]
    safety: list[_Group]
    arms: list[_Named]

    def served(self, arm: str) -> str:
        """Return the file or endpoint of an arm."""
        return next((one.file or one.endpoint or arm for one in self.arms if one.arm == arm), arm)

    @property
    def asked(self) -> set[str]:
        """The criteria of its rubric."""
        return {group.id for group in (*self.criteria, *self.safety)}

    def counts(self, arm: str) -> tuple[int, int]:
        """Return the conversations of an arm that have no score, and all of them."""
        found = self.base if arm == "base" else self.finetuned
        return found.conversations - found.scored, found.conversations

    def rows(self) -> Iterator[ComparisonRow]:
        """Yield every figure, the headline's first."""
        yield ComparisonRow(
            kind="score", id="score", personas=self.score.personas, base=self.base.mean_score,
            finetuned=self.finetuned.mean_score, difference=self.score.mean_difference, p=self.score.sign_flip_p,
        )  # fmt: skip
        kinds: tuple[tuple[Literal["category", "criterion", "gate", "persona"], list[_Group]], ...]
        kinds = (("category", self.categories), ("criterion", self.criteria), ("gate", self.safety),
                 ("persona", self.personas))  # fmt: skip
        for kind, groups in kinds:
            for group in groups:
                base, finetuned = group.base_mean, group.finetuned_mean
                if kind == "gate":
                    base, finetuned = group.base_rate, group.finetuned_rate
                yield ComparisonRow(
                    kind=kind, id=group.id, personas=group.personas, base=base, finetuned=finetuned,
                    difference=group.difference, p=group.p_holm,
                )  # fmt: skip


def read_rows(store: Store, manifest: Manifest, port: str, kind: type[R]) -> Rows[R]:
    """Read an output that has one record per line. Raises UserError for a result that does not have it."""
    return read_output(store, manifest, port, lambda path: Rows(kind, list(read_lines(path, kind))))


def read_compared(store: Store, manifest: Manifest) -> Compared:
    """Read the figures of an evaluator's result."""
    return read_output(store, manifest, "comparison", lambda path: read_record(path, Compared))


def verdicts_of(store: Store, run: str, results: dict[str, Manifest]) -> Rows[ArmVerdict]:
    """Read what the judge found about the conversations of all arms."""
    return read_rows(store, result_in(run, results, "evaluator"), "verdicts", ArmVerdict)


def conversations_of(store: Store, run: str, results: dict[str, Manifest]) -> Rows[Conversation]:
    """Read what was said to all arms."""
    return read_rows(store, result_in(run, results, "evaluator"), "conversations", Conversation)


def slices_of(store: Store, run: str, results: dict[str, Manifest]) -> Rows[Slice]:
    """Read what was learnt."""
    return read_rows(store, result_in(run, results, "slicer"), "slices", Slice)


def comparison_of(store: Store, run: str, results: dict[str, Manifest]) -> Rows[ComparisonRow]:
    """Read the figures of the comparison."""
    return Rows(ComparisonRow, list(read_compared(store, result_in(run, results, "evaluator")).rows()))


def read_output(store: Store, manifest: Manifest, port: str, reader: Callable[[Path], T]) -> T:
    """Return what `reader` makes of an output's one file. Raises UserError for a result that does not have it."""
    if port not in manifest.outputs:
        raise UserError(f"{manifest.stage}/{manifest.fingerprint[:12]} has no {port}; run the stage again to make it")
    (record,) = manifest.outputs[port].files.values()
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        return reader(RowReader(store, Path(folder)).path(record))


def result_in(run: str, results: dict[str, Manifest], node: str) -> Manifest:
    """Return the result of a stage. Raises UserError with those that the run has."""
    if node not in results:
        raise UserError(f"run {run} has no result of {node} yet; it has {', '.join(results) or 'none'}")
    return results[node]
