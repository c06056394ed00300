"""What a calibration found: calibration.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tuneline.data.io import Closed
from tuneline.stage import Json
from tuneline_calibrator.models.evidence import Change
from tuneline_calibrator.trials.holdout import Verdict

Stop = Literal["converged", "max_trials", "not_refined"]


class TrialRecord(Closed):
    """One prompt and its mean losses; the total is among them."""

    number: int
    after: int
    """The trial whose prompt was edited; 0 for the first prompt."""
    prompt: str
    changes: list[Change]
    training: dict[str, float]
    held_out: dict[str, float]
    lost: int
    """Scripts that are left out of the means."""


class Mark(Closed):
    """A mark that one may want the best prompt to reach, over all pairs."""

    name: str
    value: float
    wanted: float
    reached: bool


class Calibration(Closed):
    """How the best prompt was found, and what may be said of it."""

    best: int
    stop: Stop
    problem: str = ""
    """What was wrong with the prompt that could not be tried, where that ended it."""
    verdict: Verdict
    trials: list[TrialRecord]
    weights: dict[str, float]
    pairs: int
    left_out: dict[str, str]
    """Pairs that could not be used, and why."""
    ceiling: dict[str, float]
    """Mean losses of second recordings of a source against the first ones; empty where there is none."""
    noise: float | None
    """Mean change of a total when the judge is asked again; null where nothing was asked again."""
    marks: list[Mark]
    writer: str
    judge: str
    usd: float | None
    """What all calls took; null where a price is not known."""

    @property
    def counts(self) -> Mapping[str, Json]:
        """Return the figures that a run's record holds."""
        first, best = self.trials[0], self.trials[self.best - 1]
        return {
            "pairs": self.pairs, "trials": len(self.trials), "best": self.best, "stop": self.stop,
            "first_total": first.training["total"], "best_total": best.training["total"],
            "held_out_total": best.held_out.get("total"), "verdict": self.verdict.word, "noise": self.noise,
            "ceiling": self.ceiling.get("total"),
        }  # fmt: skip
