"""Rows that a judge decides on: what is required are the gates of a rubric, and a row is good when it passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.judge.judging import Judged, judge_all, load_judge
from tuneline.judge.panel import Judges
from tuneline.llm.config import Secret
from tuneline.stage import Context
from tuneline_generator.writing.rows import Row


class Bench(NamedTuple):
    """Who judges, by what."""

    judge: Judges
    rubric: Rubric

    def judge_rows(
        self, rows: Sequence[Row], context: Context, *, concurrency: int, timeout_s: float
    ) -> tuple[list[Row], Judged | None]:
        """Return the rows with verdicts on those that are kept so far. Raises as `judge_all` does.

        One that cannot be judged is unsure: it is neither accepted nor rejected.
        """
        asked = [row.transcript for row in rows if row.status == "kept"]
        if not asked:
            return [*rows], None
        judged = judge_all(self.judge, self.rubric, asked, context, concurrency=concurrency, timeout_s=timeout_s)
        found = {verdict.id: verdict for verdict in judged}
        return [_decided(row, found[row.id]) if row.id in found else row for row in rows], judged


def read_bench(judge: Path | None, rubric: Path | None, secret: Secret) -> Bench:
    """Read judge and rubric. Raises UserError for what is missing or wrong."""
    if judge is None or rubric is None:
        missing = " and ".join(name for name, path in (("judge", judge), ("rubric", rubric)) if path is None)
        raise UserError(f"critic: `judge` needs the input {missing}; give it")
    return Bench(load_judge(judge, secret), load_rubric(rubric))


def _decided(row: Row, verdict: Verdict) -> Row:
    if verdict.status != "scored":
        detail = f"the judge did not answer: {verdict.status}"
        return replace(row, status="unsure", detail=detail, verdict=verdict, critic_usage=verdict.usage)
    failed = ", ".join(verdict.failed_gates)
    detail = "" if verdict.passed else f"gates failed: {failed}" if failed else "the score is below the threshold"
    return replace(
        row, status="kept" if verdict.passed else "rejected", detail=detail, accepted=verdict.passed, verdict=verdict,
        critic_usage=verdict.usage,
    )  # fmt: skip
