"""Which pairs choose the winner, which tell what it is worth, and what may be said of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.parsing.problems import did_you_mean, printable

ENOUGH = 6
"""With fewer pairs no sign-flip test reaches p < 0.05: of four, the smallest p is 0.125."""

Word = Literal["better", "worse", "no better", "cannot be shown", "the first prompt"]
Basis = Literal["held_out", "leave_one_out"]


class Verdict(Closed):
    """What the chosen prompt is worth against the first one: differences of totals by pair, below 0 is better."""

    word: Word
    basis: Basis
    pairs: int
    first: float
    best: float
    difference: float
    low: float | None
    high: float | None
    """The 95 % t interval of the mean difference, a wider one if all differ by the same; null under two pairs."""
    p: float | None
    """Two-sided, by sign flips; null without a pair."""

    @property
    def brief(self) -> str:
        """Return the same in a few words."""
        if self.word == "no better" and self.difference < 0:
            return "not shown to be better than where we began"
        return "no better than where we began" if self.word in ("the first prompt", "no better") else self.word

    def told(self) -> str:
        """Return the sentence for people."""
        on = "held-out pairs" if self.basis == "held_out" else "pairs, each left out once when the winner was chosen"
        if not self.pairs:
            return "Nothing can be said: no pair was scored both with the first prompt and with the best one."
        if self.word == "the first prompt":
            return f"{self.brief.capitalize()}: no other prompt that was tried has a smaller loss."
        head = f"On {self.pairs} {on}, the total loss went from {self.first:.3f} to {self.best:.3f}"
        ends = (
            ""
            if self.low is None
            else f" (difference {self.difference:+.3f}, 95 % {self.low:+.3f} to {self.high:+.3f})"
        )
        tail = {
            "better": "it is better.",
            "worse": "it is worse.",
            "no better": f"that is {self.brief}.",
            "cannot be shown": f"under {ENOUGH} pairs it cannot be shown that this is more than chance.",
        }
        return f"{head}{ends}: {tail[self.word]}"


def split(names: Sequence[str], held_out: Sequence[str] | int, seed: int) -> set[str]:
    """Return the pairs that are held out: those named, or so many by chance. Raises UserError."""
    if isinstance(held_out, int):
        if held_out < 0:
            raise UserError(f"held_out: {held_out} pairs cannot be held out; give names, or how many")
        chosen = set(random.Random(seed).sample(sorted(names), held_out)) if held_out < len(names) else {*names}
    else:
        unknown = [name for name in held_out if name not in names]
        if unknown:
            raise UserError(f"held_out: no pair {printable(unknown[0])} is ready{did_you_mean(unknown[0], names)}")
        chosen = {*held_out}
    if len(chosen) >= len(names):
        raise UserError(f"held_out: all {len(names)} pairs are held out, and none is left to choose by")
    return chosen


def chosen(totals: Sequence[Mapping[str, float]], left_out: str = "") -> int:
    """Return the index of the trial with the least mean total by pair, the first of equals.

    Only the pairs count that every trial has.
    """
    common = set.intersection(*({*one} for one in totals)) - {left_out}
    return min(range(len(totals)), key=lambda n: fmean(totals[n][pair] for pair in sorted(common)) if common else n)


def verdict(training: Sequence[Mapping[str, float]], held_out: Sequence[Mapping[str, float]]) -> Verdict:
    """Say what the winner is worth. Both are the totals of each trial by pair; without held-out pairs, each pair of the
    training is left out once when the winner is chosen.
    """
    best = chosen(training)
    if any(held_out):
        pairs = sorted(held_out[0].keys() & held_out[best].keys())
        both = [(held_out[0][pair], held_out[best][pair]) for pair in pairs]
        return _told(both, "held_out", best)
    names = sorted(set.intersection(*({*one} for one in training)))
    alone = len(names) == 1  # leaves nothing to choose by
    both = [(training[0][name], training[chosen(training, "" if alone else name)][name]) for name in names]
    return _told(both, "leave_one_out", best)


def _told(both: Sequence[tuple[float, float]], basis: Basis, best: int) -> Verdict:
    from tuneline.data.paired.statistics import effect

    found = effect([round(after - before, 9) for before, after in both], 0.05, unit="prompt")
    mean, interval, p = found.mean_difference or 0.0, found.interval, found.sign_flip_p
    word: Word = "no better"
    if best == 0:
        word = "the first prompt"
    elif len(both) < ENOUGH:
        word = "cannot be shown" if mean < 0 or not both else "no better"
    elif p is not None and p < 0.05 and interval is not None:
        word = "better" if interval.high < 0 else "worse" if interval.low > 0 else "no better"
    return Verdict(
        word=word, basis=basis, pairs=len(both), first=round(fmean(a for a, _ in both), 6) if both else 0.0,
        best=round(fmean(b for _, b in both), 6) if both else 0.0, difference=round(mean, 6),
        low=round(interval.low, 6) if interval else None, high=round(interval.high, 6) if interval else None,
        p=None if p is None else round(p, 6),
    )  # fmt: skip
