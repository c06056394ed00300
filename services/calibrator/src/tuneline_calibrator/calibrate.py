"""Finds the prompt: trials of scripts, each held against the recorded talks, and what was lost goes into the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import structlog

from tuneline.data.text.words import word_count
from tuneline.errors import Capped, UserError
from tuneline.llm.client import LlmClient
from tuneline.llm.config import ModelConfig
from tuneline.stage import Context, Cost, Json, Metrics, dollars
from tuneline_calibrator.models import judge as judges
from tuneline_calibrator.models import writer as writers
from tuneline_calibrator.models.asking import Line, Lost
from tuneline_calibrator.models.evidence import Change, Evidence, Refined, WorstPair
from tuneline_calibrator.models.offline import ExtractiveWriter, HeuristicReader
from tuneline_calibrator.models.refine import grams, problem_of, with_slots
from tuneline_calibrator.stage import CalibratorInputs, CalibratorOutputs, CalibratorParams
from tuneline_calibrator.talks.given import Reference, of_many_lengths, read_prompt, read_references
from tuneline_calibrator.talks.losses import converged
from tuneline_calibrator.talks.profiles import Profile, aggregate
from tuneline_calibrator.trials.found import Calibration, Stop, TrialRecord
from tuneline_calibrator.trials.holdout import chosen, split, verdict
from tuneline_calibrator.trials.publish import write_all
from tuneline_calibrator.trials.trials import (
    MOST_LOST,
    SIDES,
    Bench,
    Row,
    Side,
    Target,
    Trial,
    columns,
    means,
    prepare,
    tried,
)
from tuneline_calibrator.trials.yardsticks import ceiling_of, marks_of, noise_of

log = structlog.get_logger()

WORST_PAIRS = 2


class Prepared(NamedTuple):
    """The talks as they were read."""

    targets: list[Target]
    seconds: dict[str, list[Reference]]
    """Further recordings of the source of a pair."""
    left_out: dict[str, str]
    profile: Profile


class Attempt(NamedTuple):
    """A trial, and what led to its prompt."""

    trial: Trial
    after: int
    changes: list[Change]


class End(NamedTuple):
    """Why no other prompt was tried."""

    stop: Stop
    problem: str = ""
    """What was wrong with what the writer made of the best prompt."""


def calibrate(
    params: CalibratorParams, inputs: CalibratorInputs, outputs: CalibratorOutputs, context: Context
) -> Metrics:
    """Find the prompt. Raises UserError for what cannot be used, Temporary when stopped or out of luck."""
    references = read_references(inputs.pairs, inputs.sources, inputs.talks)
    prompt = read_prompt(inputs.prompt)
    if problem := of_many_lengths(references):
        log.warning(problem)
    context.limit(params.max_usd)
    try:
        with _bench(params, inputs, context) as (bench, asked):
            prepared = _prepare(references, bench)
            lines, end = _trials(prompt, prepared, bench)
            found = _found(lines, end, prepared, bench)
    except Capped as e:
        raise UserError(
            f"max_usd: the calibration has cost {dollars(e.spent_usd)} of {dollars(e.limit_usd)}, and the next call "
            f"may cost up to {dollars(e.most_usd)}; what is paid is kept. Raise `max_usd`, or lower `max_trials`."
        ) from None
    rows = [line.spent for line in asked]
    total = Cost.of(*rows)
    unpriced = any(row.total.unpriced for row in rows)
    found = found.model_copy(update={"usd": None if unpriced else total.total_usd})
    write_all(outputs, found, [line.trial for line in lines], prepared.profile, prepared.targets)
    first, best = found.trials[0].training["total"], found.trials[found.best - 1].training["total"]
    headline = (
        f"total loss {first:.3f} → {best:.3f} in {_many(len(lines), 'trial')} over {_many(found.pairs, 'pair')}; "
        f"{found.verdict.brief}"
    )
    return Metrics(headline=headline, counts={**found.counts}, cost=total)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@contextmanager
def _bench(params: CalibratorParams, inputs: CalibratorInputs, context: Context) -> Iterator[tuple[Bench, list[Line]]]:
    """Open writer and judge. Raises UserError when a key is missing."""
    lines = list[Line]()
    writes, judged_by = writers.load_writer(inputs.writer), judges.load_judge(inputs.judge)
    # The clients hang up first and the pool waits for its threads after that, also when this thread is told to stop.
    with (
        ThreadPoolExecutor(params.concurrency, thread_name_prefix="calibrator") as pool,
        _line("writer", writes, writers.TASKS, params, context) as pen,
        _line("judge", judged_by, judges.TASKS, params, context) as reader,
    ):
        lines += [line for line in (pen, reader) if line]
        writer = writers.ModelWriter(pen) if pen else ExtractiveWriter()
        judge = judges.ModelJudge(reader) if reader else HeuristicReader()
        yield Bench(params, writer, judge, context, pool), lines


@contextmanager
def _line(
    role: str, config: object, tasks: Sequence[str], params: CalibratorParams, context: Context
) -> Iterator[Line | None]:
    if not isinstance(config, ModelConfig):
        yield None
        return
    account = context.account(role, config.model)
    with LlmClient(config, context.secret, params.timeout_s, concurrency=params.concurrency, account=account) as client:
        yield Line(role, client, context, account, tasks)


def _prepare(references: Sequence[Reference], bench: Bench) -> Prepared:
    """Read the talks; of several recordings of one source the first by name is what scripts are held against."""
    first: dict[str, Reference] = {}
    seconds: dict[str, list[Reference]] = {}
    for one in references:
        known = first.setdefault(one.source_sha256, one)
        if known is not one:
            seconds.setdefault(known.name, []).append(one)
    names = [one.name for one in first.values()]
    held_out = split(names, bench.params.held_out, bench.params.seed)
    left_out: dict[str, str] = {}

    def work(one: Reference) -> Target | UserError:
        side: Side = "held_out" if one.name in held_out else "training"
        try:
            return prepare(one, side, bench.judge, bench.params.max_concepts)
        except UserError as e:
            if bench.params.on_bad == "fail":
                raise
            return e

    found = bench.each([*first.values()], work, 0, len(first))
    for one, target in zip(first.values(), found, strict=True):
        if isinstance(target, UserError):
            left_out[one.name] = str(target)
    targets = [target for target in found if isinstance(target, Target)]
    training = [target for target in targets if target.side == "training"]
    if not training:
        raise UserError("pairs: none is left to choose a prompt by; " + next(iter(left_out.values()), ""))
    talks = [(t.reference.text, t.reference.seconds, *columns(t.parts)) for t in training]
    return Prepared(targets, seconds, left_out, aggregate(talks))


def _trials(prompt: str, prepared: Prepared, bench: Bench) -> tuple[list[Attempt], End]:
    """Try prompts until they get no better. Each is edited from the best so far."""
    params, lines = bench.params, list[Attempt]()
    of = params.max_trials * params.repeats * len(prepared.targets)
    after, changes = 0, list[Change]()
    learnt = [grams(text) for t in prepared.targets for text in (t.reference.source, t.reference.text)]
    while True:
        trial = tried(bench, len(lines) + 1, prompt, prepared.profile.told, prepared.targets, of)
        lines.append(Attempt(trial, after, changes))
        sound = _sound(lines)
        totals = [line.trial.mean("training") or 0.0 for line in sound]
        if len(lines) >= params.max_trials:
            return lines, End("max_trials")
        if converged(totals, params.window, params.min_improvement):
            return lines, End("converged")
        best = _best(sound)
        found = _refined(best, lines, prepared, bench, learnt)
        if isinstance(found, str):
            return lines, End("not_refined", found)
        after, prompt, changes = best.number, found.prompt.strip(), found.changes


def _sound(lines: Sequence[Attempt]) -> list[Attempt]:
    """Return the trials that count: a prompt that loses too many scripts is no winner. UserError if the first does."""
    first = lines[0].trial
    if not first.counts:
        statuses = ", ".join(sorted({row.status for row in first.rows if row.status != "scored"}))
        raise UserError(
            f"trial 1: {first.lost} of {len(first.rows)} scripts were not written or not judged ({statuses}), and at "
            f"most {MOST_LOST:.0%} may be, and not all that choose the prompt. What is paid is kept; take another "
            "writer or judge, or raise their `max_tokens`."
        )
    return [line for line in lines if line.trial.counts]


def _best(sound: Sequence[Attempt]) -> Trial:
    """Return the trial with the least mean total over the pairs that all have, so that none wins by losing some."""
    return sound[chosen([line.trial.by_pair("training") for line in sound])].trial


def _refined(
    best: Trial, lines: Sequence[Attempt], prepared: Prepared, bench: Bench, learnt: Sequence[set[tuple[str, ...]]]
) -> Refined | str:
    """Let the writer edit the best prompt, once more if it broke a rule; without a usable one return why."""
    evidence, problem = _evidence(best, lines, prepared, bench.params.weights.as_mapping()), ""
    known = {line.trial.prompt.strip() for line in lines}

    def wrong_with(prompt: str) -> str:
        return problem_of(prompt, best.prompt, learnt) or ("it was tried already" if prompt.strip() in known else "")

    refined = None
    for _ in range(2):
        try:
            refined = bench.writer.refine(best.prompt, evidence, problem)
        except Lost as lost:
            return problem or f"its answer is {lost.status}"
        problem = wrong_with(refined.prompt)
        if not problem:
            return refined
    mended = refined and refined.model_copy(update={"prompt": with_slots(refined.prompt, best.prompt)})
    return mended if mended and not wrong_with(mended.prompt) else problem


def _evidence(best: Trial, lines: Sequence[Attempt], prepared: Prepared, weights: Mapping[str, float]) -> Evidence:
    losses = means(best, "training", weights)
    scored = [row for row in best.rows if row.side == "training" and row.status == "scored"]
    worst = sorted(scored, key=lambda row: (-row.total, row.pair))[:WORST_PAIRS]
    tried_already: list[dict[str, Json]] = [
        {"changes": [one.change for one in line.changes], "total": means(line.trial, "training", weights)["total"]}
        for line in lines
        if line.changes and line.trial is not best
    ]
    return Evidence(
        losses=losses, worst=sorted(weights, key=lambda name: -weights[name] * losses[name]),
        words=round(median(word_count(t.reference.text) for t in prepared.targets if t.side == "training")),
        order=prepared.profile.order, pairs=[_worst(row) for row in worst], tried=tried_already,
    )  # fmt: skip


def _worst(row: Row) -> WorstPair:
    reason = row.quality.reason if row.quality else ""
    ratio = row.seconds / row.reference_seconds
    return WorstPair(row.pair, row.total, ratio, row.missed, row.reference_kinds, row.kinds, reason)


def _found(lines: Sequence[Attempt], end: End, prepared: Prepared, bench: Bench) -> Calibration:
    """Choose the winner, and measure what may be said of it."""
    weights = bench.params.weights.as_mapping()
    sound = _sound(lines)
    best = _best(sound)
    by_pair = {side: [line.trial.by_pair(side) for line in sound] for side in SIDES}
    records = [
        TrialRecord(
            number=line.trial.number, after=line.after, prompt=line.trial.prompt, changes=line.changes,
            training=means(line.trial, "training", weights), held_out=means(line.trial, "held_out", weights),
            lost=line.trial.lost,
        )
        for line in lines
    ]  # fmt: skip
    return Calibration(
        best=best.number, stop=end.stop, problem=end.problem, trials=records,
        verdict=verdict(by_pair["training"], by_pair["held_out"]), weights=weights,
        pairs=len(prepared.targets), left_out=prepared.left_out,
        ceiling=ceiling_of(prepared.targets, prepared.seconds, bench, weights),
        noise=noise_of(best, prepared.targets, bench), marks=marks_of(best),
        writer=bench.writer.label, judge=bench.judge.label, usd=None,
    )  # fmt: skip
