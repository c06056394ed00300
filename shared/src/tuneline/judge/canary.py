"""Judging once more what was judged before, outside the journal: does a judge still say the same?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tuneline.data.rubric import Category, Rubric
from tuneline.data.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement
from tuneline.judge.panel import Judge


def some_of(transcripts: Sequence[Transcript], count: int) -> list[Transcript]:
    """Return at most so many transcripts, chosen by the hash of their content: the same ones each time."""
    return sorted(transcripts, key=lambda t: hashlib.sha256(f"canary {t.sha256}".encode()).digest())[:count]


def rejudge(
    judge: Judge, rubric: Rubric, transcripts: Sequence[Transcript], *, concurrency: int = 8, timeout_s: float = 120
) -> dict[str, Judgement]:
    """Judge transcripts once, whatever a journal holds. Raises UserError or Temporary as any judging."""
    asked = rubric.asked()
    judge.check(asked, transcripts)
    with (
        ThreadPoolExecutor(concurrency, thread_name_prefix="rejudge") as pool,
        judge.open(asked, concurrency=concurrency, timeout_s=timeout_s) as ask,
    ):
        return dict(zip([t.id for t in transcripts], pool.map(lambda t: ask(t, False), transcripts), strict=True))


def shuffled(rubric: Rubric, seed: int = 1) -> Rubric:
    """Return the questions of a rubric in another order; what they count for is lost."""
    criteria = list(rubric.asked().criteria)
    Random(seed).shuffle(criteria)
    if criteria == rubric.asked().criteria:
        criteria.reverse()
    return rubric.model_copy(update={"categories": [Category(id="all", weight=1, criteria=criteria)], "gates": []})


def answers_of(judgements: Mapping[str, Judgement]) -> dict[str, dict[str, Answer]]:
    """Return the answers of those that were scored."""
    return {name: dict(judgement.answers) for name, judgement in judgements.items() if judgement.status == "scored"}
