"""Gates of quality: shares with their bounds, and whether the limits hold.

0 runaways among 39 items only show that fewer than 7.4 % run away; it takes 59 to show 5 %. So each share comes with
its one-sided 95 % bound (Clopper and Pearson 1934), and a gate says `not shown` where the share keeps to the limit and
the bound does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple

from tuneline.data.text.likeness import normal
from tuneline.data.text.words import loops
from tuneline.stage import Closed
from tuneline_generator.critic.critic import CriticTest
from tuneline_generator.report.bounds import Rate, rate
from tuneline_generator.stage import GateParams
from tuneline_generator.writing.rows import JUDGED, LOST, Row

Kind = Literal["instructions", "documents", "conversations", "scripts"]
State = Literal["passed", "not shown", "failed"]
Side = Literal["below", "at most", "at least"]

NEEDED = 1_000_000
"""More items than anybody makes to show a share."""

LIMITS: Mapping[Kind, Mapping[str, float]] = {
    "instructions": {
        "runaway": 0.05, "token_limit": 0.10, "shortest_median": 3, "longest_median": 40, "acceptance": 0.5,
        "lost": 0.05, "bad_prompts": 0.5, "duplicates": 0.10, "same_answers": 0.20, "critic_auc": 0.65,
        "critic_mass": 0.5, "loops": 0.05,
    },
    "documents": {
        "token_limit": 0.10, "shortest_median": 150, "longest_median": 900, "acceptance": 0.5, "lost": 0.10,
        "bad_prompts": 0.5, "duplicates": 0.05, "same_answers": 0.05, "loops": 0.05,
    },
    "conversations": {
        "runaway": 0.05, "token_limit": 0.10, "acceptance": 0.5, "lost": 0.10, "duplicates": 0.05,
        "same_answers": 0.05, "loops": 0.05,
    },
    "scripts": {"token_limit": 0.10, "acceptance": 0.5, "lost": 0.10, "duplicates": 0.05, "loops": 0.05},
}  # fmt: skip
"""Limits of each recipe; what is not there is not looked at."""


class Gate(Closed):
    """A limit, and what was found."""

    name: str
    state: State
    value: float
    """The share, or another figure."""
    side: Side
    limit: float
    events: int | None = None
    of: int | None = None
    low: float | None = None
    """Bound below, where there is one."""
    high: float | None = None
    needed: int | None = None
    """Items at which the bound would hold if the share stayed, where it does not hold."""

    def holds(self, require: Literal["share", "bound"]) -> bool:
        return self.state == "passed" or (self.state == "not shown" and require == "share")


class Counts(NamedTuple):
    """What gates look at."""

    items: int
    texts: int
    """Items with a response."""
    runaway: int
    cut: int
    leaks: int
    looping: int
    lost: int
    bad_prompts: int
    judged: int
    accepted: int
    duplicates: int
    good: int
    """Accepted rows that are no duplicates."""
    same_answers: int
    """Of those, rows whose answers an earlier one has word for word."""
    median_tokens: float | None
    """Of accepted rows; None without any, or where the server counts no tokens."""


class Aside(NamedTuple):
    """Test prompts: how many are set aside, and how many the recipe asks for."""

    found: int
    wanted: int


def share_gate(name: str, found: Rate, side: Side, limit: float) -> Gate:
    """Hold a share against a limit; of nothing, nothing is shown."""
    state = _state(found, side, limit)
    needed = _needed(found, side, limit) if state == "not shown" else None
    return Gate(
        name=name, state=state, value=found.share, side=side, limit=limit, events=found.events, of=found.of,
        low=found.low, high=found.high, needed=needed,
    )  # fmt: skip


def count_rows(rows: Iterable[Row]) -> Counts:
    """Count what the gates look at."""
    found = list(rows)
    written = [row for row in found if row.response.strip()]
    accepted = [row for row in found if row.status in JUDGED and row.status not in ("unsure", "rejected")]
    repeated = sum(row.status in ("duplicate", "near_duplicate") for row in found)
    tokens = [row.tokens for row in accepted if row.tokens]  # a server that counts none says nothing of length
    good = [row for row in accepted if row.status not in ("duplicate", "near_duplicate")]
    answers = {normal("\n".join(exchange.assistant for exchange in row.exchanges)) for row in good}
    return Counts(
        items=len(found), texts=len(written), runaway=sum(row.status == "runaway" for row in written),
        cut=sum(row.finish == "length" for row in written), leaks=sum(row.status == "leaks" for row in found),
        looping=sum(loops(row.response.strip()) for row in written), lost=sum(row.status in LOST for row in found),
        bad_prompts=sum(row.status == "bad_prompt" for row in found),
        judged=sum(row.accepted is not None for row in found), accepted=sum(row.accepted is True for row in found),
        duplicates=repeated, good=len(good), same_answers=len(good) - len(answers),
        median_tokens=float(median(tokens)) if tokens else None,
    )  # fmt: skip


def gates_of(
    kind: Kind,
    params: GateParams,
    counts: Counts,
    *,
    overlaps_left: int,
    critic: CriticTest | None,
    aside: Aside,
) -> list[Gate]:
    """Return the gates of a recipe; `overlaps_left` are kept rows that overlap with what is held out.

    Without a critic nothing says what is acceptable, so its gates are left out.
    """
    limits = {**LIMITS[kind], **{name: value for name, value in params if isinstance(value, float)}}
    good = counts.accepted if counts.judged else counts.items
    shares: Sequence[tuple[str, int, int, Side]] = [
        ("runaway", counts.runaway, counts.texts, "below"), ("token_limit", counts.cut, counts.texts, "below"),
        ("acceptance", counts.accepted, counts.judged, "at least"), ("lost", counts.lost, counts.items, "at most"),
        ("bad_prompts", counts.bad_prompts, counts.items, "at most"),
        ("duplicates", counts.duplicates, good, "at most"),
        ("same_answers", counts.same_answers, counts.good, "at most"), ("loops", counts.looping, counts.texts, "below"),
    ]  # fmt: skip
    asked = counts.judged or critic is not None
    used = [row for row in shares if row[0] in limits and (asked or row[0] != "acceptance")]
    found = [share_gate(name, rate(events, of), side, limits[name]) for name, events, of, side in used]
    found += [_none("leakage", counts.leaks), _none("overlap", overlaps_left)]
    found += _of_median(counts.median_tokens, limits) + _of_aside(aside)
    return found + (_of_critic(critic, limits) if critic else [])


def refused(gates: Iterable[Gate], require: Literal["share", "bound"]) -> list[Gate]:
    """Return the gates that do not hold."""
    return [gate for gate in gates if not gate.holds(require)]


def _state(found: Rate, side: Side, limit: float) -> State:
    if side == "at least":
        failed = found.share < limit and found.of
        return "failed" if failed else "passed" if found.low >= limit else "not shown"
    missed = found.share >= limit if side == "below" else found.share > limit
    bounded = found.high < limit if side == "below" else found.high <= limit
    return "failed" if missed and found.of else "passed" if bounded else "not shown"


def _needed(found: Rate, side: Side, limit: float) -> int | None:
    """Return at how many items the bound would hold at the same share; None if at no number that anybody makes."""
    least, most = max(found.of, 1), NEEDED
    if _state(_at(found, most), side, limit) != "passed":
        return None
    while least < most:
        middle = (least + most) // 2
        if _state(_at(found, middle), side, limit) == "passed":
            most = middle
        else:
            least = middle + 1
    return least


def _at(found: Rate, items: int) -> Rate:
    return rate(round(found.share * items), items)


def _none(name: str, events: int) -> Gate:
    return Gate(name=name, state="failed" if events else "passed", value=events, side="at most", limit=0)


def _of_median(tokens: float | None, limits: Mapping[str, float]) -> list[Gate]:
    sides: Sequence[tuple[str, Side]] = [("shortest_median", "at least"), ("longest_median", "at most")]
    found = []
    for name, side in sides:
        if name in limits and tokens is not None:
            holds = tokens >= limits[name] if side == "at least" else tokens <= limits[name]
            state: State = "passed" if holds else "failed"
            found.append(Gate(name=name, state=state, value=tokens, side=side, limit=limits[name]))
    return found


def _of_aside(aside: Aside) -> list[Gate]:
    """Hold the test prompts against the half of what was asked for: a comparison on very few decides nothing."""
    least = math.ceil(aside.wanted / 2)
    state: State = "passed" if aside.found >= least else "failed"
    return [Gate(name="test_prompts", state=state, value=aside.found, side="at least", limit=least)] if least else []


def _of_critic(test: CriticTest, limits: Mapping[str, float]) -> list[Gate]:
    found: list[Gate] = []
    side: Side = "at least"
    if (least := limits.get("critic_auc")) is not None:
        state: State = "failed" if test.auc < least else "passed" if test.low >= least else "not shown"
        bounds = {"low": test.low, "high": test.high}
        found.append(Gate(name="critic_auc", state=state, value=test.auc, side=side, limit=least, **bounds))
    if (least := limits.get("critic_mass")) is not None:
        state = "passed" if test.mass >= least else "failed"
        found.append(Gate(name="critic_mass", state=state, value=test.mass, side=side, limit=least))
    return found
