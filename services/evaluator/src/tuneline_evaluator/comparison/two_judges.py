"""Where two judges differ: in their answers, in what passes, and in what each alone would say of the two models."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from tuneline.data.rubric import Rubric
from tuneline.data.verdicts import Opinion
from tuneline.judge.panel import SCALE
from tuneline_evaluator.comparison.figures import CriterionDisagreement, OneJudge, TwoJudges
from tuneline_evaluator.comparison.scores import JudgedConversation, Scored, pairs, score


class _Both(NamedTuple):
    """What the two said about one conversation, by their names in the rubric."""

    item: JudgedConversation
    first: Opinion
    second: Opinion

    @property
    def scored(self) -> bool:
        return self.first.status == self.second.status == "scored"


def two_judges(judged: Sequence[JudgedConversation], rubric: Rubric) -> TwoJudges | None:
    """Return how far the two judges of a rubric agree on these conversations; None if there is one."""
    rows = [
        _Both(item, *item.verdict.opinions.values())
        for item in judged
        if item.verdict is not None and len(item.verdict.opinions) == 2
    ]
    if not rows or rubric.judges is None:
        return None
    both = [row for row in rows if row.scored]
    criteria = _criteria(both, rubric)
    return TwoJudges(
        rule=rubric.judges_rule,
        conversations=len(rows),
        both_scored=len(both),
        answers=sum(row.answers for row in criteria),
        differ=sum(row.differ for row in criteria),
        passed_by_one=sum(row.first.passed != row.second.passed for row in both),
        judges=[_one(name, place, rows) for place, name in enumerate(rubric.judges)],
        criteria=criteria,
    )


def _one(name: str, place: int, rows: Sequence[_Both]) -> OneJudge:
    opinions = [((row.first, row.second)[place], row.item) for row in rows]
    scored = [
        Scored(item.conversation, item.verdict, opinion.score)
        for opinion, item in opinions
        if item.verdict is not None and opinion.status == "scored" and opinion.score is not None
    ]
    means = pairs(scored, score)
    return OneJudge(
        name=name,
        judge=opinions[0][0].judge,
        scored=len(scored),
        passed=sum(opinion.passed for opinion, _ in opinions),
        base_mean=fmean(pair.base for pair in means) if means else None,
        finetuned_mean=fmean(pair.finetuned for pair in means) if means else None,
        difference=fmean(pair.difference for pair in means) if means else None,
    )


def _criteria(both: Sequence[_Both], rubric: Rubric) -> list[CriterionDisagreement]:
    """Return a row for each criterion that both answered, the most disputed first."""
    found = []
    for criterion in rubric.criteria:
        said = [
            (SCALE.index(row.first.answers[criterion.id]), SCALE.index(row.second.answers[criterion.id]))
            for row in both
            if criterion.id in row.first.answers and criterion.id in row.second.answers
        ]
        if said:
            stricter = sum(ours < theirs for ours, theirs in said)
            milder = sum(ours > theirs for ours, theirs in said)
            found.append(
                CriterionDisagreement(
                    id=criterion.id, text=criterion.question, answers=len(said), differ=stricter + milder,
                    first_stricter=stricter,
                )
            )  # fmt: skip
    return sorted(found, key=lambda row: -row.differ / row.answers)
