"""A trial: a script from each source by one prompt, read as the recorded talk was, and held against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Literal, NamedTuple, TypeVar, get_args

from pydantic import Field

from tuneline.data.io import Closed
from tuneline.data.text.words import word_count
from tuneline.errors import UserError
from tuneline.llm.limits import ended
from tuneline.parsing.problems import printable
from tuneline.stage import Context
from tuneline_calibrator.models.answers import Quality
from tuneline_calibrator.models.asking import Lost
from tuneline_calibrator.models.judge import Concept, Judge
from tuneline_calibrator.models.writer import Writer
from tuneline_calibrator.stage import CalibratorParams
from tuneline_calibrator.talks import losses as of
from tuneline_calibrator.talks.given import Reference
from tuneline_calibrator.talks.segments import Part, Passage, grouped, merged, sentences

MOST_LOST = 0.2
"""Share of the pairs that may have no script in a trial that counts."""

WAYS = {
    "too_long": "take a judge with a larger context",
    "cut": "raise the judge's `max_tokens`",
    "unparsed": "take another judge, for this one's answers cannot be read",
}
"""What helps when there is no answer about a talk."""
_LEAVE_OUT = "leave the pair out (`on_bad: skip` leaves out all such pairs)"

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
Side = Literal["training", "held_out"]
SIDES: tuple[Side, ...] = get_args(Side)


class Target(NamedTuple):
    """What a script of a pair is held against."""

    reference: Reference
    parts: list[Part]
    concepts: list[Concept]
    side: Side


class Row(Closed):
    """What became of a pair in a trial: a line of trials.jsonl. `losses` are empty where there is no script."""

    trial: int
    pair: str
    side: Side
    repeat: int
    status: str
    """scored, or why there is no script or no judgement."""
    words: int = 0
    seconds: float = 0.0
    reference_seconds: float
    losses: dict[str, float] = Field(default_factory=dict)
    total: float = 1.0
    explained: int = 0
    concepts: int
    missed: list[str] = Field(default_factory=list)
    kinds: list[str] = Field(default_factory=list)
    lengths: list[float] = Field(default_factory=list)
    reference_kinds: list[str]
    quality: Quality | None = None
    rouge: dict[str, float] = Field(default_factory=dict)


class Trial(NamedTuple):
    """One prompt, and what became of every pair."""

    number: int
    prompt: str
    rows: list[Row]
    scripts: dict[tuple[str, int], str]

    def mean(self, side: Side, loss: str = "total") -> float | None:
        """Return the mean of a loss over the pairs that were scored; None if there is none."""
        scored = [row for row in self.rows if row.side == side and row.status == "scored"]
        return fmean(row.total if loss == "total" else row.losses[loss] for row in scored) if scored else None

    def by_pair(self, side: Side) -> dict[str, float]:
        """Return the total of each pair that was scored, over its repeats."""
        rows = [row for row in self.rows if row.side == side and row.status == "scored"]
        return {name: fmean(r.total for r in rows if r.pair == name) for name in sorted({row.pair for row in rows})}

    @property
    def counts(self) -> bool:
        """Whether few enough scripts are lost for its means to say something of the prompt."""
        return self.lost <= MOST_LOST * len(self.rows) and self.mean("training") is not None

    @property
    def lost(self) -> int:
        """Scripts that are left out of the means."""
        return sum(row.status != "scored" for row in self.rows)


class Bench(NamedTuple):
    """Who writes and judges, and where the work is done."""

    params: CalibratorParams
    writer: Writer
    judge: Judge
    context: Context
    pool: ThreadPoolExecutor

    def each(self, items: Sequence[I], work: Callable[[I], T], done: int, of: int) -> list[T]:
        """Return what `work` makes of each item, some at a time; `done` of `of` steps lie behind it."""
        found = dict[int, T]()

        def safe_point() -> None:
            self.context.progress(done + len(found), of)

        numbers = range(len(items))
        for n, future in ended(
            numbers, lambda n: self.pool.submit(work, items[n]), self.params.concurrency, safe_point
        ):
            found[n] = future.result()
        return [found[n] for n in numbers]


def prepare(reference: Reference, side: Side, judge: Judge, most_concepts: int) -> Target:
    """Read a talk as its scripts will be read. Raises UserError for one that has nothing to hold a script against."""
    name = printable(reference.name)
    passages = grouped(Passage(one.text.strip(), one.end - one.start) for one in reference.talk)
    try:
        parts = merged(judge.kinds([one.text for one in passages]), passages)
        concepts = judge.concepts(reference.source, reference.text, most_concepts)
    except Lost as lost:
        way = WAYS.get(lost.status, "take another judge")
        raise UserError(f"{name}: the judge did not read the talk ({lost.status}); {way}, or {_LEAVE_OUT}") from None
    if not concepts:
        raise UserError(
            f"{name}: the talk explains no concept of its source; is it about another one? If so, {_LEAVE_OUT}"
        )
    return Target(reference, parts, concepts, side)


def tried(bench: Bench, number: int, prompt: str, profile: str, targets: Sequence[Target], of: int) -> Trial:
    """Try a prompt on every pair. Raises as the models' clients do."""
    jobs = [(target, repeat) for target in targets for repeat in range(bench.params.repeats)]
    scripts: dict[tuple[str, int], str] = {}

    def work(job: tuple[Target, int]) -> Row:
        target, repeat = job
        try:
            script = bench.writer.script(prompt, target.reference.source, profile, bench.params.seed + repeat)
            scripts[target.reference.name, repeat] = script
            if not word_count(script):
                return blank(number, repeat, target, "empty")
            return read(number, repeat, script, None, target, bench)
        except Lost as lost:
            return blank(number, repeat, target, lost.status)

    rows = bench.each(jobs, work, (number - 1) * len(jobs), of)
    return Trial(number, prompt, rows, scripts)


def blank(number: int, repeat: int, target: Target, status: str) -> Row:
    """Return the row of a pair without a script."""
    return Row(
        trial=number, pair=target.reference.name, side=target.side, repeat=repeat, status=status,
        reference_seconds=round(target.reference.seconds, 3), concepts=len(target.concepts),
        reference_kinds=[one.kind for one in target.parts],
    )  # fmt: skip


def read(
    number: int, repeat: int, script: str, seconds: float | None, target: Target, bench: Bench, again: int = 0
) -> Row:
    """Hold a script against its talk; without `seconds` its words take as long as the talk's. Raises Lost."""
    reference, judge, count = target.reference, bench.judge, word_count(script)
    pace = 60 / reference.words_a_minute
    passages = grouped(Passage(one, word_count(one) * pace) for one in sentences(script))
    parts = merged(judge.kinds([one.text for one in passages]), passages)
    explained = judge.explained(script, target.concepts, again)
    quality = judge.quality(reference.source, script, again)
    rouge = of.rouge(script, reference.text)
    took = count * pace if seconds is None else seconds
    losses = {
        "duration": of.duration_loss(took, reference.seconds),
        "coverage": of.coverage_loss(len(explained), len(target.concepts)),
        "structure": of.structure_loss(*columns(parts), *columns(target.parts)),
        "quality": of.quality_loss(quality.engagement, quality.clarity, quality.accuracy),
        "rouge": of.rouge_loss(rouge["rouge1"], rouge["rouge2"], rouge["rougeL"]),
    }
    return blank(number, repeat, target, "scored").model_copy(
        update={
            "words": count, "seconds": round(took, 3), "losses": {k: round(v, 6) for k, v in losses.items()},
            "total": round(of.total_loss(losses, bench.params.weights.as_mapping()), 6), "explained": len(explained),
            "missed": [one.name for one in target.concepts if one.id not in explained],
            "kinds": [one.kind for one in parts], "lengths": [round(one.seconds, 3) for one in parts],
            "quality": quality, "rouge": {k: round(v, 6) for k, v in rouge.items()},
        }
    )  # fmt: skip


def columns(parts: Sequence[Part]) -> tuple[list[str], list[float]]:
    """Return kinds and seconds of parts."""
    return [one.kind for one in parts], [one.seconds for one in parts]


def means(trial: Trial, side: Side, names: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of every loss and of the total; empty for a side without pairs.

    Of a trial that does not count each is 1, as of an empty script.
    """
    if not trial.counts:
        return dict.fromkeys((*names, "total") if any(row.side == side for row in trial.rows) else (), 1.0)
    found = {name: trial.mean(side, name) for name in (*names, "total")}
    return {name: round(value, 6) for name, value in found.items() if value is not None}
