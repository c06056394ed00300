"""Two runs side by side: the same personas or prompts with two fine-tuned models, and what differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from tuneline.commands.results.arms import Arm, Side, relation
from tuneline.commands.results.rows import ArmVerdict
from tuneline.data.paired.effects import Effect, ScoreOutcome, score_outcome
from tuneline.data.paired.safety import SafetyRow, broken, safety_row, too_few
from tuneline.data.paired.statistics import effect, holm, rates_differ
from tuneline.errors import UserError
from tuneline.stage import Closed, Json

Measure = Callable[[ArmVerdict], float | None]
"""None where it does not apply."""


class CriterionChange(Closed):
    """One criterion, over the personas that both models answered."""

    id: str
    personas: int
    first: float
    """Mean over personas of the share of conversations that met it; NA is met."""
    second: float
    difference: float
    p: float
    """Two-sided sign-flip p."""
    p_holm: float
    """The same, adjusted for all criteria."""
    first_failures: int
    """Personas with at least one NO."""
    second_failures: int


class Flip(Closed):
    """A criterion answered otherwise in the same conversation slot: persona (or prompt) and trial."""

    criterion: str
    persona: str
    trial: int
    first: str
    second: str
    conversation: str
    """Id of the second model's row in conversations.jsonl."""


class Between(Closed):
    """What two runs say of each other; differences are second minus first, shares between 0 and 1."""

    first: Arm
    second: Arm
    relation: str
    unit: str
    outcome: ScoreOutcome | Literal["withheld"]
    """Of the second model against the first, by the rule of a report."""
    score: Effect
    margin: float
    significance: float
    criteria: list[CriterionChange]
    safety: list[SafetyRow]
    """The rubric's gates; `base` is the first model there, `finetuned` the second."""
    unscored: tuple[tuple[int, int], tuple[int, int]]
    """Of each model the conversations without a score, and all of them."""
    unscored_differ: bool
    """Whether one lost more of them than the other, which withholds the verdict."""
    flips: list[Flip]
    base_drift: float | None = None
    """By how much the score of the base model differs between the runs, where it is the same: judge and luck."""
    notes: list[str]
    """What a reader must know, one sentence each."""


class _Pair(NamedTuple):
    persona: str
    first: float
    second: float


def compare_sides(first: Side, second: Side, *, allow_unequal: bool = False, arm: str = "finetuned") -> Between:
    """Compare the fine-tuned models of two runs, or their bases, paired by persona or prompt.

    Raises UserError where nothing pairs; and where rubric or judge differ, unless `allow_unequal`.
    """
    notes = list(_unlike(first, second, allow_unequal))
    rows = first.scored(arm), second.scored(arm)
    paired = _pairs(*rows, _score)
    if not paired:
        raise UserError(
            f"{first.run} and {second.run} have no scored {first.unit} in common: evaluate both with the same ones"
        )
    notes += _left_out(first, second, {pair.persona for pair in paired}, arm)
    params = second.manifest.params
    alpha, margin = float(params.get("significance", 0.05)), float(params.get("margin", 0.03))
    unit: Literal["persona", "prompt"] = "prompt" if second.unit == "prompt" else "persona"
    whole = effect([pair.second - pair.first for pair in paired], alpha, unit=unit)
    sides, lost = (first.arms[arm], second.arms[arm]), (first.compared.counts(arm), second.compared.counts(arm))
    safety, (differ, _) = _safety(second, *rows, alpha), rates_differ(*lost, alpha)
    return Between(
        first=sides[0], second=sides[1], relation=relation(*sides), unit=unit,
        outcome="withheld" if differ else _outcome(whole, safety, alpha, margin), unscored=lost, unscored_differ=differ,
        score=whole, margin=margin, significance=alpha, criteria=criterion_changes(*rows), safety=safety,
        flips=list(_flips(*rows)), base_drift=_drift(first, second),
        notes=[*notes, *_about_bases(first, second)],
    )  # fmt: skip


def _unlike(first: Side, second: Side, allow_unequal: bool) -> Iterator[str]:
    """Yield what differs and is allowed. Raises UserError for what makes two scores two different things."""
    if first.unit != second.unit:
        raise UserError(
            f"{first.run} was compared by {first.unit}s and {second.run} by {second.unit}s: nothing pairs up"
        )
    other = [port for port in ("rubric", "judge") if not _equal(first, second, port)]
    if other and not allow_unequal:
        raise UserError(
            f"{first.run} and {second.run} have another {' and another '.join(other)}: their scores are not the same "
            "measure. Evaluate one of them again with the other one's, or add --allow-unequal to see them anyway."
        )
    for port in other:
        yield f"The runs have another {port}: the difference of the scores is not that of the models alone."
    speakers = f"{first.unit}s"
    if not _equal(first, second, speakers):
        yield f"The {speakers} are not the same file: those with one id are paired, and may differ in what they say."
    for port in ("simulator", "system_prompt"):
        if not _equal(first, second, port):
            yield f"The runs have another {port.replace('_', ' ')}."
    keys = ("turns", "trials", "seed", "sampler", "format", "prompt_template", "stop")
    params = first.manifest.params, second.manifest.params
    if differ := [key for key in keys if params[0].get(key) != params[1].get(key)]:
        yield f"The evaluators differ in {', '.join(differ)}."


def _equal(first: Side, second: Side, port: str) -> bool:
    if port == "judge" and (cards := [_judged_by(side) for side in (first, second)]) and all(cards):
        return cards[0] == cards[1]
    records = [side.manifest.inputs.get(port) for side in (first, second)]
    return len({record.sha256 if record else None for record in records}) == 1


def _judged_by(side: Side) -> Json:
    """Return what is recorded of the judges, without the days on which they answered."""
    cards = side.manifest.metrics.counts.get("judges")
    days = {"first_judged", "last_judged"}
    if not isinstance(cards, list):
        return None
    return [{k: v for k, v in card.items() if k not in days} for card in cards if isinstance(card, dict)]


def _left_out(first: Side, second: Side, paired: set[str], arm: str) -> Iterator[str]:
    for side in (first, second):
        if alone := {v.persona for v in side.verdicts if v.arm == arm} - paired:
            yield f"{len(alone)} {side.unit}s of {side.run} have no scored partner and are in no figure."


def _about_bases(first: Side, second: Side) -> Iterator[str]:
    for one, other in ((first, second), (second, first)):
        base = one.arms["base"]
        if base.sha256 and base.sha256 == other.arms["finetuned"].sha256:
            yield f"The base arm of {one.run} is the fine-tune of {other.run}: its own report compares the two."
        elif base.kind == "fine-tune":
            yield f"The base arm of {one.run} is itself {base.label.partition(' (')[2].removesuffix(')')}."


def _drift(first: Side, second: Side) -> float | None:
    bases = first.arms["base"], second.arms["base"]
    if not bases[0].sha256 or bases[0].sha256 != bases[1].sha256:
        return None
    pairs = _pairs(first.scored("base"), second.scored("base"), _score)
    return fmean(pair.second - pair.first for pair in pairs) if pairs else None


def _score(row: ArmVerdict) -> float | None:
    return row.score


def _pairs(first: Sequence[ArmVerdict], second: Sequence[ArmVerdict], measure: Measure) -> list[_Pair]:
    means = [_means(rows, measure) for rows in (first, second)]
    return [_Pair(name, means[0][name], means[1][name]) for name in sorted(means[0].keys() & means[1].keys())]


def _means(rows: Sequence[ArmVerdict], measure: Measure) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if (value := measure(row)) is not None:
            found[row.persona].append(value)
    return {persona: fmean(values) for persona, values in found.items()}


def _safety(
    second: Side, before: Sequence[ArmVerdict], now: Sequence[ArmVerdict], significance: float
) -> list[SafetyRow]:
    """Test the gates of the second run's rubric as its report does."""
    gates, margin = (
        [gate.id for gate in second.compared.safety],
        float(second.manifest.params.get("safety_margin", 0.1)),
    )
    shares = ((name, [(pair.first, pair.second) for pair in _pairs(before, now, _met(name))]) for name in gates)
    return [safety_row(name, "", found, margin, significance, len(gates)) for name, found in shares]


def _outcome(score: Effect, safety: Sequence[SafetyRow], significance: float, margin: float) -> ScoreOutcome:
    """Apply the rules of a report."""
    few = too_few(score, significance)
    if few or score.interval is None or score.bound is None or score.sign_flip_p is None:
        return "inconclusive"
    if broken(safety):
        return "worse"
    return score_outcome(score.interval, score.sign_flip_p < significance, score.bound, margin)


def criterion_changes(first: Sequence[ArmVerdict], second: Sequence[ArmVerdict]) -> list[CriterionChange]:
    """Return a row for each criterion that both answered, in the rubric's order; Holm over all of them."""
    names = list(dict.fromkeys(name for row in (*first, *second) for name in row.answers))
    found = {name: _pairs(first, second, _met(name)) for name in names}
    tested = {
        name: effect([pair.second - pair.first for pair in pairs], 0.05).sign_flip_p or 0.0
        for name, pairs in found.items()
        if pairs
    }
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        CriterionChange(
            id=name, personas=len(found[name]), first=fmean(pair.first for pair in found[name]),
            second=fmean(pair.second for pair in found[name]),
            difference=fmean(pair.second - pair.first for pair in found[name]), p=p, p_holm=adjusted[name],
            first_failures=sum(pair.first < 1 for pair in found[name]),
            second_failures=sum(pair.second < 1 for pair in found[name]),
        )
        for name, p in tested.items()
    ]  # fmt: skip


def _met(criterion: str) -> Measure:
    return lambda row: float(answer != "NO") if (answer := row.answers.get(criterion)) else None


def _flips(first: Sequence[ArmVerdict], second: Sequence[ArmVerdict]) -> Iterator[Flip]:
    """Yield every answer that changed between NO and met, the new failures first."""
    before = {(row.persona, row.trial): row for row in first}
    found = [
        Flip(
            criterion=name, persona=row.persona, trial=row.trial, first=was, second=answer,
            conversation=row.conversation,
        )
        for row in second
        if (old := before.get((row.persona, row.trial)))
        for name, answer in row.answers.items()
        if (was := old.answers.get(name)) and (was == "NO") != (answer == "NO")
    ]  # fmt: skip
    yield from sorted(found, key=lambda flip: (flip.second != "NO", flip.criterion, flip.persona, flip.trial))
