"""Judging once more what was judged before, outside the journal: does a judge still say the same?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, exp, lgamma
from math import log as log_of
from random import Random
from typing import NamedTuple

import structlog

from tuneline.data.rubric import Category, Rubric
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement
from tuneline.errors import UserError
from tuneline.judge.panel import Judge
from tuneline.stage import Account

CHANCE = 0.05
"""A judge as noisy as was said is taken for one that has drifted in about so many starts, at most.

Simulated at 5 to 100 canaries of 12 answers with 2 to 15 % noise, even over transcripts or from a few of them alone:
2.5 to 6 %. Ten canaries find a noise that was doubled from 10 % in six to nine of ten starts."""

_WAY_OUT = (
    "Old and new verdicts would not be alike: judge all anew with another `seed` in the judge's file (Anthropic has "
    "none: another `max_tokens`), or look at `tuneline judge-check`."
)

log = structlog.get_logger()


def some_of(transcripts: Sequence[Transcript], count: int) -> list[Transcript]:
    """Return at most so many transcripts, chosen by the hash of their content: the same ones each time."""
    return sorted(transcripts, key=lambda t: hashlib.sha256(f"canary {t.sha256}".encode()).digest())[:count]


def rejudge(
    judge: Judge, rubric: Rubric, transcripts: Sequence[Transcript], *, concurrency: int = 8, timeout_s: float = 120,
    account: Account | None = None,
) -> dict[str, Judgement]:  # fmt: skip
    """Judge transcripts once, whatever a journal holds. Raises UserError or Temporary as any judging."""
    asked = rubric.asked()
    judge.check(asked, transcripts)
    with (
        ThreadPoolExecutor(concurrency, thread_name_prefix="rejudge") as pool,
        judge.open(asked, concurrency=concurrency, timeout_s=timeout_s, account=account) as ask,
    ):
        return dict(zip([t.id for t in transcripts], pool.map(lambda t: ask(t, False), transcripts), strict=True))


def shuffled(rubric: Rubric) -> Rubric:
    """Return the questions of a rubric in another order, the same one each time; what they count for is lost."""
    criteria = list(rubric.asked().criteria)
    Random(1).shuffle(criteria)
    if criteria == rubric.asked().criteria:
        criteria.reverse()
    return rubric.model_copy(update={"categories": [Category(id="all", weight=1, criteria=criteria)], "gates": []})


def answers_of(judgements: Mapping[str, Judgement]) -> dict[str, dict[str, Answer]]:
    """Return the answers of those that were scored."""
    return {name: dict(judgement.answers) for name, judgement in judgements.items() if judgement.status == "scored"}


def refuse_drift(recorded: Mapping[str, Judgement], now: Mapping[str, Judgement], noise: float) -> None:
    """Compare answers with those of the same transcripts in the journal.

    Raises UserError when more than the share `noise` of them differ and that is no accident, or when most have no
    answer now. A single transcript without one says nothing.
    """
    here = {name: judgement for name, judgement in recorded.items() if now[name].status == "scored"}
    if len(here) < len(recorded) / 2:
        why = ", ".join(sorted({judgement.status for judgement in now.values()} - {"scored"}))
        raise UserError(
            f"The judge has drifted: it scored {len(here)} of {len(recorded)} transcripts that it had scored before "
            f"({why}). {_WAY_OUT}"
        )
    pairs = [
        [(answer, now[name].answers.get(criterion)) for criterion, answer in judgement.answers.items()]
        for name, judgement in here.items()
    ]
    changed = [Changed(sum(before != after for before, after in said), len(said)) for said in pairs]
    differ, answers = sum(one.differ for one in changed), sum(one.answers for one in changed)
    log.info("canaries judged once more", transcripts=len(here), answers=answers, differ=differ)
    if noise**answers > CHANCE and noise < 1:
        log.warning("too few answers of canaries to tell drift from noise: raise `canaries`", answers=answers)
    if differ > noise * answers and chance_of(changed, noise) < CHANCE:
        days = sorted(judgement.day for judgement in here.values())
        when = " to ".join(dict.fromkeys((days[0], days[-1])))
        raise UserError(
            f"The judge has drifted: {differ} of {answers} answers about {len(here)} transcripts differ from "
            f"those of {when} ({differ / answers:.0%}, and {noise:.0%} are noise by `canary_noise`). {_WAY_OUT}"
        )


class Changed(NamedTuple):
    """How many of the answers about one transcript differ."""

    differ: int
    answers: int


def chance_of(changed: Sequence[Changed], noise: float) -> float:
    """Return how probable it is that so many answers or more differ, if the share `noise` of them does on average.

    Answers about one transcript change together: a judge wavers about some transcripts more than about others. As many
    independent answers are counted as vary like these (the design effect of a cluster sample, Kish 1965).
    """
    differ, answers = sum(one.differ for one in changed), sum(one.answers for one in changed)
    share, count = differ / answers, len(changed)
    spread = sum((one.differ - share * one.answers) ** 2 for one in changed) * count / max(1, count - 1)
    independent = answers * share * (1 - share)
    effect = max(1.0, spread / independent) if independent else 1.0
    effective = max(1, int(answers / effect))
    return _at_least(ceil(share * effective - 1e-9), effective, noise)


def _at_least(count: int, of: int, chance: float) -> float:
    """Return how probable it is that at least `count` of `of` happen, if each does with probability `chance`."""
    if not 0 < chance < 1:
        return float(count == 0 or chance == 1)
    logs = (
        lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1) + k * log_of(chance) + (of - k) * log_of(1 - chance)
        for k in range(count, of + 1)
    )
    return sum(map(exp, logs))
