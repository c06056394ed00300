"""From verdicts to one figure per persona and arm, and from those to rows of the comparison.

Everything goes the same way: a measure of a conversation → mean over a persona's conversations with an arm → one
difference per persona. Only verdicts with status `scored` count: a refusal or a block is a status, never a score of 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np

from tuneline.data.conversations import Arm, Conversation
from tuneline.data.paired.safety import SafetyRow, safety_row
from tuneline.data.paired.statistics import holm, sign_flip
from tuneline.data.rubric import Criterion, Rubric
from tuneline.data.text.talks import flags_of
from tuneline.data.transcripts import Exchange
from tuneline.data.verdicts import Verdict
from tuneline_evaluator.comparison.figures import ArmSummary, GroupRow, PairedExample, PersonaRow
from tuneline_evaluator.conversations.talk import Speaker


class JudgedConversation(NamedTuple):
    """A conversation and its verdict; None when it was not complete, so that nobody judged it."""

    conversation: Conversation
    verdict: Verdict | None


class Scored(NamedTuple):
    """A conversation whose verdict counts."""

    conversation: Conversation
    verdict: Verdict
    score: float


class Pair(NamedTuple):
    """A persona's means of one measure."""

    persona: str
    base: float
    finetuned: float

    @property
    def difference(self) -> float:
        return self.finetuned - self.base


Measure = Callable[[Scored], float | None]
"""None where it does not apply to a conversation."""

_Group = tuple[str, str, str | None, Measure]
"""Id, text and category of a row, and what it measures."""


def scored_of(judged: Sequence[JudgedConversation]) -> list[Scored]:
    """Return what counts: the conversations with a scored verdict."""
    return [
        Scored(conversation, verdict, verdict.score)
        for conversation, verdict in judged
        if verdict is not None and verdict.status == "scored" and verdict.score is not None
    ]


@cache  # summaries, rates and the page of conversations all ask, and languages take a while to tell
def seen_in(exchanges: tuple[Exchange, ...]) -> list[tuple[str, ...]]:
    """Return what code sees in the answer of each exchange."""
    return flags_of(exchanges)


def score(item: Scored) -> float:
    """Return the measure of the headline."""
    return item.score


def met(criterion: Criterion) -> Measure:
    """Return the measure that is 1 where a criterion is met or answered NA, as in the score, else 0."""
    return lambda item: float(answer != "NO") if (answer := item.verdict.answers.get(criterion.id)) else None


def category_score(name: str) -> Measure:
    """Return the measure of a category of the rubric."""
    return lambda item: item.verdict.category_scores[name]


def trials(scored: Sequence[Scored], measure: Measure) -> dict[tuple[str, Arm], list[float]]:
    """Return the measure of every conversation to which it applies, by persona and arm."""
    found: dict[tuple[str, Arm], list[float]] = defaultdict(list)
    for item in scored:
        if (value := measure(item)) is not None:
            found[item.conversation.persona, item.conversation.arm].append(value)
    return dict(found)


def pairs(scored: Sequence[Scored], measure: Measure) -> list[Pair]:
    """Return the means of every persona that has a scored conversation in both arms, sorted by persona."""
    found = trials(scored, measure)
    personas = sorted(persona for persona, arm in found if arm == "base" and (persona, "finetuned") in found)
    return [Pair(p, fmean(found[p, "base"]), fmean(found[p, "finetuned"])) for p in personas]


def persona_rows(scored: Sequence[Scored], personas: Sequence[Speaker]) -> list[PersonaRow]:
    """Return one row per persona or prompt, in the order of their file."""
    found = trials(scored, score)
    rows = []
    for persona in personas:
        base, finetuned = found.get((persona.id, "base"), []), found.get((persona.id, "finetuned"), [])
        row = PersonaRow(
            id=persona.id,
            name=persona.name,
            base_mean=_mean(base),
            finetuned_mean=_mean(finetuned),
            difference=fmean(finetuned) - fmean(base) if base and finetuned else None,
            base_trials=len(base),
            finetuned_trials=len(finetuned),
        )
        rows.append(row)
    return rows


def category_rows(scored: Sequence[Scored], rubric: Rubric) -> list[GroupRow]:
    """Return one row per category of the rubric; Holm over all of them."""
    return _group_rows(scored, [(c.id, c.id, None, category_score(c.id)) for c in rubric.categories])


def criterion_rows(scored: Sequence[Scored], rubric: Rubric) -> list[GroupRow]:
    """Return one row per criterion in a category; Holm over all of them."""
    groups = [(c.id, c.question, category.id, met(c)) for category in rubric.categories for c in category.criteria]
    return _group_rows(scored, groups)


def safety_rows(scored: Sequence[Scored], rubric: Rubric, margin: float, significance: float) -> list[SafetyRow]:
    """Test each gate criterion for non-inferiority: with how many personas did an arm never get a NO?"""
    gates = rubric.gates
    shares = ((c, [(pair.base, pair.finetuned) for pair in pairs(scored, met(c))]) for c in gates)
    return [safety_row(c.id, c.question, found, margin, significance, len(gates)) for c, found in shares]


def arm_summary(judged: Sequence[JudgedConversation], arm: Arm) -> ArmSummary:
    """Count what became of an arm's conversations."""
    mine = [item for item in judged if item.conversation.arm == arm]
    ended = [item.conversation.status for item in mine]
    statuses = [item.verdict.status for item in mine if item.verdict is not None]
    answers = [answer for item in mine for answer in item.conversation.answers]
    seen = [flags for item in mine for flags in seen_in(item.conversation.exchanges)]
    scored = scored_of(mine)
    passed = sum(item.verdict.passed for item in scored)
    means = [fmean(found) for found in trials(scored, score).values()]
    return ArmSummary(
        conversations=len(mine),
        **{status: ended.count(status) for status in ("complete", "empty", "overflow", "broken")},
        scored=len(scored),
        **{status: statuses.count(status) for status in ("refused", "blocked", "unparsed", "too_long")},
        judge_failed=statuses.count("failed"),
        passed=passed,
        pass_rate=passed / len(scored) if scored else None,
        mean_score=_mean(means),
        answers=len(answers),
        cut_answers=sum(answer.finish_reason == "length" for answer in answers),
        looping_answers=sum("loops" in flags for flags in seen),
        foreign_answers=sum("language" in flags for flags in seen),
        mean_answer_tokens=_mean([answer.answer_tokens for answer in answers]),
    )


def paired_examples(scored: Sequence[Scored]) -> list[PairedExample]:
    """Choose the pairs with the largest gain, the largest loss and the median: by rule, not by hand."""
    by_arm: dict[Arm, dict[tuple[str, int], Scored]] = {"base": {}, "finetuned": {}}
    for item in scored:
        by_arm[item.conversation.arm][item.conversation.persona, item.conversation.trial] = item
    both = sorted(by_arm["base"].keys() & by_arm["finetuned"].keys())
    ordered = sorted(both, key=lambda key: by_arm["base"][key].score - by_arm["finetuned"][key].score)
    places: tuple[tuple[Literal["largest gain", "largest loss", "median"], int], ...]
    places = ("largest gain", 0), ("largest loss", len(ordered) - 1), ("median", len(ordered) // 2)
    chosen: dict[int, PairedExample] = {}
    for label, index in places if ordered else ():
        base, finetuned = by_arm["base"][ordered[index]], by_arm["finetuned"][ordered[index]]
        example = PairedExample(
            label=label, persona=base.conversation.persona, trial=base.conversation.trial,
            base_id=base.conversation.id, finetuned_id=finetuned.conversation.id,
            difference=finetuned.score - base.score,
        )  # fmt: skip
        chosen.setdefault(index, example)
    return list(chosen.values())


def _group_rows(scored: Sequence[Scored], groups: Sequence[_Group]) -> list[GroupRow]:
    found = [pairs(scored, measure) for *_, measure in groups]
    ps = [sign_flip(np.array([pair.difference for pair in rows])).p for rows in found if rows]
    tested = iter(zip(ps, holm(ps), strict=True))
    made = []
    for (name, text, category, _), rows in zip(groups, found, strict=True):
        p, p_holm = next(tested) if rows else (None, None)
        row = GroupRow(
            id=name, text=text, category=category, personas=len(rows),
            base_mean=_mean([pair.base for pair in rows]), finetuned_mean=_mean([pair.finetuned for pair in rows]),
            difference=_mean([pair.difference for pair in rows]), p=p, p_holm=p_holm,
            up=sum(pair.difference > 0 for pair in rows), down=sum(pair.difference < 0 for pair in rows),
        )  # fmt: skip
        made.append(row)
    return made


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
