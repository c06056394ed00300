"""Judging once more what was judged before, outside the journal: does a judge still say the same?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import comb
from random import Random

import structlog

from tuneline.data.rubric import Category, Rubric
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement
from tuneline.errors import UserError
from tuneline.judge.panel import Judge
from tuneline.stage import Account

CHANCE = 0.05
"""A judge as noisy as was said is taken for one that has drifted in so many starts, at most."""

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
    said = [
        (answer, now[name].answers.get(criterion))
        for name, judgement in here.items()
        for criterion, answer in judgement.answers.items()
    ]
    differ = sum(before != after for before, after in said)
    log.info("canaries judged once more", transcripts=len(here), answers=len(said), differ=differ)
    if noise ** len(said) > CHANCE and noise < 1:
        log.warning("too few answers of canaries to tell drift from noise: raise `canaries`", answers=len(said))
    if differ > noise * len(said) and _by_chance(differ, len(said), noise) < CHANCE:
        days = sorted(judgement.day for judgement in here.values())
        when = " to ".join(dict.fromkeys((days[0], days[-1])))
        raise UserError(
            f"The judge has drifted: {differ} of {len(said)} answers about {len(here)} transcripts differ from "
            f"those of {when} ({differ / len(said):.0%}, and {noise:.0%} are noise by `canary_noise`). {_WAY_OUT}"
        )


def _by_chance(differ: int, answers: int, noise: float) -> float:
    """Return how probable it is that so many answers or more differ if each does with the probability `noise`."""
    return sum(comb(answers, k) * noise**k * (1 - noise) ** (answers - k) for k in range(differ, answers + 1))
