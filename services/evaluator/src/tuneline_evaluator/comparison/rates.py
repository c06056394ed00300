"""How often something goes wrong in each arm: conversations that get lost, and answers that nobody should get.

Conversations that one arm loses more often withhold the headline. Answers that one arm gives more often (they repeat
themselves, are in another language, end at the limit) are named in headline and advice, since a rubric may not see
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tuneline.data.paired.effects import Range
from tuneline.data.paired.statistics import bounded_interval, rates_differ
from tuneline_evaluator.comparison.effects import RateGap
from tuneline_evaluator.comparison.figures import ArmSummary
from tuneline_evaluator.comparison.scores import JudgedConversation, seen_in


class Share(NamedTuple):
    """So many of so many."""

    part: int
    of: int


class _Rate(NamedTuple):
    name: str
    counted: Callable[[ArmSummary], int]
    found: Callable[[JudgedConversation], int]
    """The same of one conversation."""


def _status(*names: str) -> Callable[[JudgedConversation], int]:
    return lambda item: int((item.verdict.status if item.verdict else item.conversation.status) in names)


def _flagged(name: str) -> Callable[[JudgedConversation], int]:
    return lambda item: sum(name in flags for flags in seen_in(item.conversation.exchanges))


def cut(item: JudgedConversation) -> int:
    """Return how many answers of a conversation ended at the limit."""
    return sum(answer.finish_reason == "length" for answer in item.conversation.answers)


LOSSES: Sequence[_Rate] = (
    _Rate("refused or blocked by the judge", lambda arm: arm.refused + arm.blocked, _status("refused", "blocked")),
    _Rate("not readable as a verdict", lambda arm: arm.unparsed + arm.too_long + arm.judge_failed,
          _status("unparsed", "too_long", "failed")),
    _Rate("ended by an empty answer", lambda arm: arm.empty, _status("empty")),
    _Rate("too long for the context", lambda arm: arm.overflow, _status("overflow")),
    _Rate("broken by the server", lambda arm: arm.broken, _status("broken")),
    _Rate("without a score for any reason", lambda arm: arm.conversations - arm.scored,
          lambda item: int(item.verdict is None or item.verdict.status != "scored")),
)  # fmt: skip

FAULTS: Sequence[_Rate] = (
    _Rate("answers that repeat themselves", lambda arm: arm.looping_answers, _flagged("loops")),
    _Rate("answers in another language than the user’s", lambda arm: arm.foreign_answers, _flagged("language")),
    _Rate("answers cut at the limit", lambda arm: arm.cut_answers, cut),
)


def rate_gaps(
    base: ArmSummary, finetuned: ArmSummary, significance: float, judged: Sequence[JudgedConversation] = ()
) -> list[RateGap]:
    """Compare the rates at which the arms lose conversations; intervals come from `judged`."""
    totals = base.conversations, finetuned.conversations
    return [_gap(rate, (base, finetuned), totals, significance, judged, lambda _: 1) for rate in LOSSES]


def fault_gaps(
    base: ArmSummary, finetuned: ArmSummary, significance: float, judged: Sequence[JudgedConversation] = ()
) -> list[RateGap]:
    """Compare the rates at which the arms give answers that nobody should get."""
    totals = base.answers, finetuned.answers
    return [
        _gap(rate, (base, finetuned), totals, significance, judged, lambda item: len(item.conversation.exchanges))
        for rate in FAULTS
    ]


def worse_rates(faults: Sequence[RateGap]) -> list[RateGap]:
    """Return those that the fine-tuned model shows more often than its base, beyond chance or by much."""
    return [gap for gap in faults if gap.differs and gap.finetuned * gap.of_base > gap.base * gap.of_finetuned]


def _gap(
    rate: _Rate, arms: tuple[ArmSummary, ArmSummary], totals: tuple[int, int], significance: float,
    judged: Sequence[JudgedConversation], of: Callable[[JudgedConversation], int],
) -> RateGap:  # fmt: skip
    """Compare two rates.

    The test takes conversations (or answers) as independent, which errs on the side of speaking up; the interval is by
    persona.
    """
    (b, f), (of_b, of_f) = (rate.counted(arms[0]), rate.counted(arms[1])), totals
    differs, p = rates_differ((b, of_b), (f, of_f), significance)
    return RateGap(
        name=rate.name, base=b, of_base=of_b, finetuned=f, of_finetuned=of_f,
        interval=_interval(judged, rate.found, of, significance), fisher_p=p, differs=differs,
    )  # fmt: skip


def _interval(
    judged: Sequence[JudgedConversation], found: Callable[[JudgedConversation], int],
    of: Callable[[JudgedConversation], int], significance: float,
) -> Range | None:  # fmt: skip
    """Return the interval of the mean difference of the shares by persona or prompt, which holds for any spread."""
    by_arm: dict[str, dict[str, list[Share]]] = {"base": defaultdict(list), "finetuned": defaultdict(list)}
    for item in judged:
        by_arm[item.conversation.arm][item.conversation.persona].append(Share(found(item), of(item)))
    shares = [{name: _share(rows) for name, rows in arm.items() if any(row.of for row in rows)}
              for arm in by_arm.values()]  # fmt: skip
    both = sorted(shares[0].keys() & shares[1].keys())
    d = np.array([shares[1][name] - shares[0][name] for name in both])
    return bounded_interval(d, significance) if len(d) > 1 else None


def _share(rows: Sequence[Share]) -> float:
    return sum(row.part for row in rows) / sum(row.of for row in rows)
