"""What the best prompt is held against: how near people come to each other, how steady the judge is, what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tuneline_calibrator.models.asking import Lost
from tuneline_calibrator.talks.given import Reference
from tuneline_calibrator.trials.found import Mark
from tuneline_calibrator.trials.trials import Bench, Row, Target, Trial, read


def ceiling_of(
    targets: Sequence[Target], seconds: Mapping[str, Sequence[Reference]], bench: Bench, weights: Mapping[str, float]
) -> dict[str, float]:
    """Return the losses of people who talk about the same source: no prompt needs to be better."""
    jobs = [(target, one) for target in targets for one in seconds.get(target.reference.name, [])]

    def work(job: tuple[Target, Reference]) -> Row | None:
        target, one = job
        try:
            return read(0, 0, one.text, one.seconds, target, bench)
        except Lost:
            return None

    rows = [row for row in bench.each(jobs, work, 0, len(jobs)) if row]
    found = {name: fmean(row.losses[name] for row in rows) for name in weights} if rows else {}
    return {name: round(value, 6) for name, value in found.items()} | (
        {"total": round(fmean(row.total for row in rows), 6)} if rows else {}
    )


def noise_of(best: Trial, targets: Sequence[Target], bench: Bench) -> float | None:
    """Return how far a total moves when the judge is asked the same again."""
    by_name = {target.reference.name: target for target in targets}
    scored = [row for row in best.rows if row.status == "scored"][: bench.params.rejudged]

    def work(row: Row) -> float | None:
        try:
            script, target = best.scripts[row.pair, row.repeat], by_name[row.pair]
            return abs(read(row.trial, row.repeat, script, None, target, bench, again=1).total - row.total)
        except Lost:
            return None

    moved = [value for value in bench.each(scored, work, 0, len(scored)) if value is not None]
    return round(fmean(moved), 6) if moved else None


def marks_of(best: Trial) -> list[Mark]:
    """Return what may be wanted of the best prompt."""
    rows = [row for row in best.rows if row.status == "scored"]
    found = {
        "coverage": (1 - fmean(row.losses["coverage"] for row in rows), 0.80),
        "quality": (100 * (1 - fmean(row.losses["quality"] for row in rows)), 75.0),
        "ROUGE-1": (fmean(row.rouge["rouge1"] for row in rows), 0.40),
    }
    return [
        Mark(name=name, value=round(value, 6), wanted=wanted, reached=value > wanted)
        for name, (value, wanted) in found.items()
    ]
