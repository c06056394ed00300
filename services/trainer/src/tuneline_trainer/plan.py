"""How long training will take, before there is anything to train on.

A pass forwards every slice whole, so what counts is tokens of slices, not of transcripts. Where the slices are not cut
yet, they are taken to be cut at even distances of all transcripts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import read_record
from tuneline.data.judged import read_judged
from tuneline.data.slices import SliceStats
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Passing
from tuneline.llm.token_counts import MESSAGE_TOKENS, count_tokens
from tuneline.stage import Forecast, Plans, rounded
from tuneline_trainer.model.base_model import glance_at_base_model
from tuneline_trainer.model.memory import GPUS
from tuneline_trainer.stage import TrainerParams

MEASURED_ON, SLOWEST, FASTEST = "H100", 146.0, 413.0
"""TFLOP/s that trainings of 8 and 9 billion parameters kept up, counted as below (docs/benchmarks.md): the slower with
flex attention and 32,768 tokens, the faster with 8,192."""

DATA_SHEETS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "A40": 150, "A10": 125, "L4": 121, "RTX 4090": 165}
"""What the makers of GPUs promise in TFLOP/s of dense bf16, by a part of the GPU's name, a longer one first. Others are
taken to keep up as much of it as the one that was measured."""
COMPARED = ("A100", "L4")
"""Beside which GPU's time those of these are said, where it is not known which one will train."""

FLOPS_PER_PARAMETER, FLOPS_OF_CHECKPOINTING = 4, 2
"""Per token: 2 forward and 2 backward (a frozen weight has no gradient of its own), and 2 to forward again
(arXiv:2001.08361, section 2.1). Attention comes on top, and counts where slices are long."""

MOST_MEASURED = 1_000
"""Transcripts whose tokens are counted; of more, these stand for the others."""


class Slices(NamedTuple):
    """Tokens of the training slices, and how they were found."""

    tokens: int
    how: str


def plan_training(params: TrainerParams, plans: Plans) -> Iterator[Forecast]:
    """Note how long training takes; it calls no model, so it is no row of the plan."""
    glance = plans.read("base_model", glance_at_base_model)
    slices = _slices(params, plans)
    if glance and slices:
        parameters = sum(math.prod(shape) for shape in glance[1].values())
        tokens = slices.tokens * params.epochs
        plans.note(
            f"about {_short(tokens)} tokens in {params.epochs:g} passes over the slices ({slices.how}): "
            f"{_time(params, plans, parameters, tokens)}"
        )
    yield from ()


def _time(params: TrainerParams, plans: Plans, parameters: int, tokens: float) -> str:
    for counts in plans.earlier("trainer"):
        rate, device = counts.get("tokens_per_second"), counts.get("device")
        if counts.get("base_parameters") == parameters and isinstance(rate, int | float) and rate > 0:
            return (
                f"{_hours(tokens / rate)} at {rate:,.0f} tokens a second, as the last training of a model of this size "
                f"in this store had on {device}"
            )
    each = FLOPS_PER_PARAMETER + (FLOPS_OF_CHECKPOINTING if params.gradient_checkpointing else 0)
    here = gpu_of_this_machine()
    slower = DATA_SHEETS[MEASURED_ON] / DATA_SHEETS[here or MEASURED_ON]
    times = [each * parameters * tokens * slower / (rate * 1e12) for rate in (FASTEST, SLOWEST)]
    others = [f"{DATA_SHEETS[MEASURED_ON] / DATA_SHEETS[name]:.2g} times as long on an {name}" for name in COMPARED]
    which = f"the {here} of this machine" if here else f"an {MEASURED_ON}, {' and '.join(others)}"
    return (
        f"{_between(*times)} on {which}: assumed from {SLOWEST:g} to {FASTEST:g} TFLOP/s, as measured on an "
        f"{MEASURED_ON}, and the data sheets of others, at {each} operations for each of {_short(parameters)} "
        "parameters and token; no training of such a model has been measured in this store"
    )


def gpu_of_this_machine(place: Path = GPUS) -> str | None:
    """Return the kind of this machine's first GPU, None if there is none or it is not in the table."""
    for file in sorted(place.glob("*/information")):
        words = file.read_text(encoding="utf-8", errors="replace")
        return next((name for name in DATA_SHEETS if re.search(rf"\b{name}\b", words)), None)
    return None


def _slices(params: TrainerParams, plans: Plans) -> Slices | None:
    if cut := plans.made("slicer", "stats"):
        return Slices(read_record(cut, SliceStats).splits["train"].tokens, "as they are cut")
    path = plans.made("assessor", "transcripts")
    judged = list(read_judged(path)) if path else []
    passed = plans.made("assessor", "passing")
    chosen, how = _passing(judged, passed)
    if not chosen:
        return None
    measured = chosen[:MOST_MEASURED]
    tokens = sum(_tokens(params, plans, transcript) for transcript in measured) * len(chosen) / len(measured)
    learnt = 1 - _number(plans, "validation_fraction", 0.0)
    return Slices(round(tokens * learnt), f"{how}, without a system prompt")


def _passing(judged: Sequence[Transcript], passed: Path | None) -> tuple[list[Transcript], str]:
    if passed is None:
        return list(judged), f"if all {len(judged):,} transcripts pass"
    ids = {row.id for row in read_record(passed, Passing).transcripts}
    return [transcript for transcript in judged if transcript.id in ids], f"of {len(ids):,} transcripts that passed"


def _tokens(params: TrainerParams, plans: Plans, transcript: Transcript) -> int:
    """Return the tokens of all slices of a transcript, each up to its point and no longer than the limit."""
    form = 2 * MESSAGE_TOKENS
    counts = [
        count_tokens(exchange.user) + count_tokens(exchange.assistant) + form for exchange in transcript.exchanges
    ]
    upto = [0, *accumulate(counts)]
    first = round(_number(plans, "min_context", 3))
    gap = (_number(plans, "min_gap", 2) + _number(plans, "max_gap", 5)) / 2
    last = len(counts)
    if last < first:
        return 0
    points = {min(last, round(first + number * gap)) for number in range(math.ceil((last - first) / gap) + 1)}
    return sum(min(upto[point], params.max_length) for point in points)


def _number(plans: Plans, name: str, otherwise: float) -> float:
    found = plans.setting("slicer", name)
    return float(found) if isinstance(found, int | float) else otherwise


def _hours(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    return f"{rounded(seconds / 3600)} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"


def _between(least: float, most: float) -> str:
    shorter, longer = _hours(least), _hours(most)
    return longer if shorter == longer else f"{shorter} to {longer}"


def _short(number: float) -> str:
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{rounded(number / size, 3)}{name}"
    return f"{number:,.0f}"
