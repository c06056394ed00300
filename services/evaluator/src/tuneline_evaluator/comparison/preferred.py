"""From what the judge prefers in both orders to figures, one per persona or prompt."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from tuneline.data.conversations import Arm, Conversation
from tuneline.data.io import Closed
from tuneline.data.judged import Transcript
from tuneline.data.paired.effects import Range
from tuneline.data.paired.statistics import detectable_preference, effect
from tuneline.data.reading.prompts import Prompt
from tuneline.judge.preference.choice import Choice, Ending, ending
from tuneline.judge.preference.judging import Asked, Contest, compare_all
from tuneline.stage import Context, Cost
from tuneline_evaluator.comparison.beside import length_control
from tuneline_evaluator.comparison.bradley_terry import gap, sign_test
from tuneline_evaluator.comparison.effects import PositionBias, Preference
from tuneline_evaluator.comparison.figures import PairedExample
from tuneline_evaluator.conversations.prepare import Prepared

MOST_FLIPS = 0.3
"""Share of flips above which nothing follows from a judge."""
EXAMPLES = 3
"""Pairs of each kind that are shown."""


class Met(NamedTuple):
    """One persona or prompt and trial with both arms, and of each judge the choices, base first and finetuned first."""

    base: Conversation
    finetuned: Conversation
    choices: list[tuple[Choice, Choice]]

    @property
    def scores(self) -> list[tuple[float | None, float | None]]:
        """What each judge gave the finetuned arm in both orders."""
        return [(first.score(second=True), second.score(second=False)) for first, second in self.choices]

    @property
    def score(self) -> float | None:
        """The mean of them; one half for a pair that is the same to the letter, None where an order has no answer."""
        given = [score for both in self.scores for score in both]
        known = [score for score in given if score is not None]
        return (fmean(known) if known else 0.5) if len(known) == len(given) else None

    @property
    def ending(self) -> Ending:
        """A win or a loss only where all judges agree in both orders."""
        found = {ending(first, second) for first, second in self.scores}
        if len(found) == 1:
            return found.pop()
        return "unjudged" if "unjudged" in found else "flip" if "flip" in found else "tie"


class PreferenceRow(Closed):
    """One pair: a row of preferences.jsonl."""

    persona: str
    trial: int
    ending: Ending
    """Of the finetuned arm: win · loss · tie · flip · unjudged."""
    score: float | None
    """Mean of what each order gave the finetuned arm: 1 preferred, 0.5 neither, 0 the other one."""
    base_first: list[Choice]
    """What each judge said with the base shown as A; empty for two answers that are the same."""
    finetuned_first: list[Choice]


class Preferred(NamedTuple):
    """All pairs, None where nobody asked, and what was done just now."""

    met: list[Met] | None
    asked_now: int
    cost: Cost


def prefer(prepared: Prepared, conversations: Sequence[Conversation], context: Context) -> Preferred:
    """Have every pair of complete conversations compared, blind and in both orders, if that is wanted."""
    if not prepared.params.preference:
        return Preferred(None, 0, Cost())
    by_arm: dict[Arm, dict[tuple[str, int], Conversation]] = {"base": {}, "finetuned": {}}
    for one in conversations:
        if one.status == "complete" and one.arm in by_arm:
            by_arm[one.arm][one.persona, one.trial] = one
    both = sorted(by_arm["base"].keys() & by_arm["finetuned"].keys())
    references = {one.id: one.reference for one in prepared.personas if isinstance(one, Prompt)}
    pairs = [(by_arm["base"][key], by_arm["finetuned"][key]) for key in both]
    contests = [
        Contest(f"{base.judged_id}-{other.judged_id}", _said(base), _said(other), references.get(base.persona))
        for base, other in pairs
    ]
    params = prepared.params
    how = Asked(params.question, params.judge_concurrency, params.judge_timeout_s, params.max_unparsed)
    found = compare_all(prepared.judge, prepared.rubric, contests, context, how)
    met = [Met(*pair, one.choices) for pair, one in zip(pairs, found.pairs, strict=True)]
    return Preferred(met, found.asked_now, found.cost)


def _said(one: Conversation) -> Transcript:
    return Transcript(one.judged_id, one.exchanges)


def preference_rows(met: Sequence[Met]) -> list[PreferenceRow]:
    """Return a row per pair."""
    return [
        PreferenceRow(
            persona=one.base.persona, trial=one.base.trial, ending=one.ending, score=one.score,
            base_first=[first for first, _ in one.choices], finetuned_first=[second for _, second in one.choices],
        )
        for one in met
    ]  # fmt: skip


def preference_of(
    met: Sequence[Met], judge: str, question: str, significance: float, unit: Literal["persona", "prompt"]
) -> Preference:
    """Return every figure of what is preferred."""
    groups: dict[str, list[Met]] = defaultdict(list)
    for one in met:
        if one.score is not None:
            groups[one.base.persona].append(one)
    scores = [fmean(one.score or 0.0 for one in group) for group in groups.values()]
    lengths = [fmean(_longer_by(one) for one in group) for group in groups.values()]
    nets = [sum((one.ending == "win") - (one.ending == "loss") for one in group) for group in groups.values()]
    differences, endings = np.array(scores) - 0.5, Counter(one.ending for one in met)
    least = detectable_preference(differences, significance)
    whole = effect(list(differences), significance, unit=unit)
    ends = whole.interval and Range(low=max(whole.interval.low, -0.5), high=min(whole.interval.high, 0.5))
    whole = whole.model_copy(update={"detectable": least, "interval": ends})
    choices = [choice for one in met for both in one.choices for choice in both]
    return Preference(
        judge=judge, question=question, win_rate=fmean(scores) if scores else None, effect=whole,
        wins=endings["win"], losses=endings["loss"], ties=endings["tie"], flips=endings["flip"],
        unjudged=endings["unjudged"], identical=sum(not one.choices for one in met),
        unanswered=dict(sorted(Counter(str(choice.status) for choice in choices if choice.answer is None).items())),
        sign_p=sign_test(sum(net > 0 for net in nets), sum(net < 0 for net in nets)), gap=gap(scores, significance),
        position=position_bias(met), length=length_control(scores, lengths, significance, ends),
    )  # fmt: skip


def position_bias(met: Sequence[Met]) -> PositionBias:
    """Say whether the place of an answer decides."""
    answers = [choice.answer for one in met for both in one.choices for choice in both]
    decided, first = sum(answer in ("A", "B") for answer in answers), answers.count("A")
    ends = [ending(*both) for one in met for both in one.scores]
    flips, of = ends.count("flip"), len(ends) - ends.count("unjudged")
    p = float(stats.binomtest(first, decided).pvalue) if decided else 1.0
    return PositionBias(decided=decided, first=first, p=p, flips=flips, of=of, too_many=flips > MOST_FLIPS * of)


def _longer_by(one: Met) -> int:
    """Return how many characters more the finetuned arm wrote."""
    return _written(one.finetuned) - _written(one.base)


def _written(one: Conversation) -> int:
    return sum(len(exchange.assistant) for exchange in one.exchanges)


def preference_examples(met: Sequence[Met]) -> list[PairedExample]:
    """Choose some wins, losses and flips by the hash of their names: by rule, not by hand."""
    drawn = sorted(met, key=lambda one: hashlib.sha256(one.base.persona.encode()).digest())
    found = []
    kinds: tuple[Literal["win", "loss", "flip"], ...] = ("win", "loss", "flip")
    for kind in kinds:
        for one in [one for one in drawn if one.ending == kind][:EXAMPLES]:
            reasons = [choice.reason for both in one.choices for choice in both]
            example = PairedExample(
                label=kind, persona=one.base.persona, trial=one.base.trial, base_id=one.base.id,
                finetuned_id=one.finetuned.id, difference=(one.score or 0.0) - 0.5, reasons=reasons,
            )  # fmt: skip
            found.append(example)
    return found
