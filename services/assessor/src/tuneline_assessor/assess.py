"""Judges transcripts: reads everything before anything is paid, judges what no journal holds, writes what it found."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import get_args

from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.transcripts import read_transcripts
from tuneline.data.verdicts import Status, write_verdicts
from tuneline.judge.judging import Judged, judge_all, load_judge
from tuneline.stage import Context, Json, Metrics
from tuneline_assessor.stage import AssessorInputs, AssessorOutputs, AssessorParams


def assess(params: AssessorParams, inputs: AssessorInputs, outputs: AssessorOutputs, context: Context) -> Metrics:
    """Judge `inputs.transcripts` and write verdicts and the passing ids."""
    rubric = load_rubric(inputs.rubric)
    judge = load_judge(inputs.judge, context.secret, inputs.answers)
    read = read_transcripts(inputs.transcripts, params.on_bad)
    judged = judge_all(
        judge,
        rubric,
        read.transcripts,
        context,
        concurrency=params.concurrency,
        timeout_s=params.timeout_s,
        max_unreadable=params.max_unparsed,
    )
    write_verdicts(outputs.verdicts, judged)
    _write_passing(outputs.passing, rubric, judged)
    return _metrics(judged, rejected=len(read.rejected), judge=judge.label)


def _write_passing(path: Path, rubric: Rubric, judged: Judged) -> None:
    passing = [{"id": verdict.id, "score": verdict.score} for verdict in judged if verdict.passed]
    content = {"threshold": rubric.pass_threshold, "count": len(passing), "transcripts": passing}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _metrics(judged: Judged, **counts: Json) -> Metrics:
    statuses = Counter(verdict.status for verdict in judged)
    passed = sum(verdict.passed for verdict in judged)
    counts |= {
        "transcripts": len(judged),
        "judged_now": judged.judged_now,
        "from_journal": len(judged) - judged.judged_now,
        "passed": passed,
        **{status: statuses[status] for status in get_args(Status)},
        "input_tokens": judged.spent.input_tokens,
        "output_tokens": judged.spent.output_tokens,
    }
    headline = f"{passed} of {len(judged)} transcripts passed, {judged.judged_now} judged now"
    return Metrics(headline=headline, counts=counts, cost=judged.cost)
