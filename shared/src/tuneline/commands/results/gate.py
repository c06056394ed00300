"""Applies a run file's `gate` to what a run found, or to what two runs say of each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tuneline.errors import UserError
from tuneline.stage import Closed
from tuneline.stage.policy import Gate

if TYPE_CHECKING:
    from tuneline.commands.results.differences import CriterionChange
    from tuneline.store.base import Store

Role = Literal["verdict", "critical", "supporting", "advisory"]


class Ruling(Closed):
    """What a policy says of one thing."""

    role: Role
    name: str
    holds: bool
    text: str


class Decision(Closed):
    """What a policy says."""

    passed: bool
    rulings: list[Ruling]

    def lines(self) -> Iterator[str]:
        """Yield it for people, what says no first."""
        yield f"Gate: {'yes' if self.passed else 'no'}"
        for ruling in sorted(self.rulings, key=lambda ruling: ruling.holds or ruling.role == "advisory"):
            word = "holds" if ruling.holds else "warns" if ruling.role == "advisory" else "says no"
            yield f"  {ruling.role:10}  {ruling.name}  {word}: {ruling.text}"


def decide(
    gate: Gate, outcome: str, criteria: Sequence[CriterionChange], unit: str, significance: float,
    asked: Collection[str] = (),
) -> Decision:  # fmt: skip
    """Apply a policy; `asked` are the rubric's criteria, of which some may have applied to no conversation.

    Raises UserError where it names a criterion that the rubric does not have.
    """
    by_id = {row.id: row for row in criteria}
    if unknown := gate.unknown({*by_id, *asked}):
        known = ", ".join(dict.fromkeys([*by_id, *sorted(asked)]))
        raise UserError(f"gate: {', '.join(unknown)}: no conversation was judged by it in both arms; there are {known}")
    rulings = [*_verdict(gate, outcome), *(_critical(name, by_id.get(name), unit) for name in gate.critical)]
    rulings += _not_worse("supporting", gate.supporting, by_id, significance)
    rulings += _not_worse("advisory", gate.advisory, by_id, significance)
    return Decision(passed=all(ruling.holds or ruling.role == "advisory" for ruling in rulings), rulings=rulings)


def decide_run(store: Store, run: str, gate: Gate) -> Decision:
    """Apply a policy to a run's own comparison of its fine-tuned model with its base."""
    from tuneline.commands.results.arms import read_side

    side = read_side(store, run)
    from tuneline.commands.results.differences import criterion_changes  # it needs what read_side has looked for

    criteria = criterion_changes(side.scored("base"), side.scored("finetuned"))
    significance = float(side.manifest.params.get("significance", 0.05))
    return decide(gate, side.compared.outcome, criteria, side.unit, significance, side.compared.asked)


def _verdict(gate: Gate, outcome: str) -> Iterator[Ruling]:
    if gate.require is not None:
        enough = {"better"} if gate.require == "better" else {"better", "not worse"}
        text = f"the policy asks for {gate.require}"
        yield Ruling(role="verdict", name=outcome, holds=outcome in enough, text=text)


def _critical(name: str, row: CriterionChange | None, unit: str) -> Ruling:
    if row is None:
        return _unmeasured("critical", name)
    text = f"failed with {row.first_failures} of {row.personas} {unit}s before, {row.second_failures} now"
    return Ruling(role="critical", name=row.id, holds=row.second_failures <= row.first_failures, text=text)


def _not_worse(
    role: Role, names: Sequence[str], by_id: Mapping[str, CriterionChange], significance: float
) -> Iterator[Ruling]:
    from tuneline.data.paired.statistics import holm

    rows = [by_id[name] for name in names if name in by_id]
    for row, p in zip(rows, holm([row.p for row in rows]), strict=True):
        text = f"{100 * row.difference:+.1f} points, p {p_text(p)}"
        yield Ruling(role=role, name=row.id, holds=row.difference >= 0 or p >= significance, text=text)
    yield from (_unmeasured(role, name) for name in names if name not in by_id)


def _unmeasured(role: Role, name: str) -> Ruling:
    """Rule on a criterion that applied to no conversation: what is critical must be seen to hold."""
    text = "it applied to no conversation of both arms"
    return Ruling(role=role, name=name, holds=role == "supporting", text=text)


def p_text(p: float | None) -> str:
    """Write a p value with what it is: `= 0.03`, and never as nought."""
    return "not known" if p is None else "< 0.001" if p < 0.001 else f"= {p:.3g}"
