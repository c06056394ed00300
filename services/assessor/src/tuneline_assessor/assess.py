"""Judges transcripts: reads everything before anything is paid, judges what no journal holds, writes what it found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple, get_args

from tuneline.data.io import write_lines, write_record
from tuneline.data.judged import write_judged
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.text.audit import Audit
from tuneline.data.transcripts import ReadTranscripts, read_transcripts
from tuneline.data.verdicts import Pass, Passing, Status, Verdict
from tuneline.judge.card import JudgeCards
from tuneline.judge.judging import Judged, judge_all, load_judge
from tuneline.judge.panel import Judges, disagreement
from tuneline.stage import Context, Json, Metrics
from tuneline_assessor.audit import audit_set, headline_of, page_of, report
from tuneline_assessor.personal_data import Screened, screen
from tuneline_assessor.stage import AssessorInputs, AssessorOutputs, AssessorParams


class Prepared(NamedTuple):
    """What is judged, by what, by whom; and what was left out or mended on the way in."""

    rubric: Rubric
    judge: Judges
    screened: Screened
    read: ReadTranscripts


def assess(params: AssessorParams, inputs: AssessorInputs, outputs: AssessorOutputs, context: Context) -> Metrics:
    """Judge `inputs.transcripts` and write them, their verdicts, the passing ids and what was left out."""
    rubric, judge, (transcripts, pii, note, shown), read = prepare(params, inputs, context)
    audit = audit_set(params.audit, rubric, transcripts)
    judged = judge_all(
        judge, rubric, transcripts, context,
        concurrency=params.concurrency, timeout_s=params.timeout_s, max_unreadable=params.max_unparsed,
        canaries=params.canaries, canary_noise=params.canary_noise,
    )  # fmt: skip
    judged[:] = [_refused(verdict, audit.refusing(verdict.id)) for verdict in judged]
    write_judged(outputs.transcripts, transcripts)
    write_lines(outputs.verdicts, judged)
    write_record(outputs.judges, JudgeCards(judges=judged.cards))
    passing = [Pass(id=v.id, score=v.score) for v in judged if v.passed and v.score is not None]
    threshold = rubric.pass_threshold
    write_record(outputs.passing, Passing(threshold=threshold, count=len(passing), transcripts=passing))
    write_lines(outputs.rejected, (row.model_copy(update={"id": row.id and shown(row.id)}) for row in read.rejected))
    write_lines(outputs.repairs, (row.model_copy(update={"id": shown(row.id)}) for row in read.repaired))
    found = report(audit, transcripts, judged)
    write_record(outputs.findings, found)
    outputs.audit.write_text(page_of(found), encoding="utf-8")
    notes = [text for text in (*_notes(read), note, headline_of(found)) if text]
    return _metrics(judged, found, notes, judge=judge.label, **_counts(read), **pii)


def prepare(params: AssessorParams, inputs: AssessorInputs, context: Context) -> Prepared:
    """Read everything before anything is paid. Raises UserError for whatever is wrong with it."""
    rubric = load_rubric(inputs.rubric)
    judge = load_judge(inputs.judge, context.secret, inputs.answers)
    read = read_given(inputs.transcripts, params)
    return Prepared(rubric, judge, screen(read, params, context), read)


def read_given(path: Path, params: AssessorParams) -> ReadTranscripts:
    """Read the transcripts as the parameters say: which are left out, what becomes of tools, and who answers."""
    max_bad = params.max_bad if params.on_bad == "skip" else None
    return read_transcripts(path, max_bad, params.tools, params.answered_by)


def _refused(verdict: Verdict, checks: list[str]) -> Verdict:
    return verdict.model_copy(update={"passed": False, "audit": checks}) if checks and verdict.passed else verdict


def _metrics(judged: Judged, audit: Audit, notes: list[str], **counts: Json) -> Metrics:
    statuses = Counter(verdict.status for verdict in judged)
    passed = sum(verdict.passed for verdict in judged)
    counts |= {
        "transcripts": len(judged),
        "judged_now": judged.judged_now,
        "from_journal": len(judged) - judged.judged_now,
        "passed": passed,
        "refused_by_audit": audit.refused,
        "audit": {found.check: found.passing for found in audit.found},
        **{status: statuses[status] for status in get_args(Status)},
        "input_tokens": judged.spent.input_tokens,
        "output_tokens": judged.spent.output_tokens,
        "judges_disagree": disagreement(judged),
        "judges": [card.model_dump(mode="json") for card in judged.cards],
    }
    unscored = [f"{count} {status.replace('_', ' ')}" for status, count in statuses.items() if status != "scored"]
    notes = [*([", ".join(sorted(unscored))] if unscored else []), *notes]
    headline = "; ".join([f"{passed} of {len(judged)} transcripts passed, {judged.judged_now} judged now", *notes])
    return Metrics(headline=headline, counts=counts, cost=judged.cost)


def _counts(read: ReadTranscripts) -> dict[str, Json]:
    """Return what became of the transcripts on the way in, by kind."""
    return {
        "rejected": len(read.rejected),
        "rejected_by_kind": dict(sorted(read.kinds.items())),
        "repaired": len(read.repaired),
        "repairs": dict(sorted(read.repairs.items())),
    }


def _notes(read: ReadTranscripts) -> list[str]:
    """Return the same for the headline."""
    found = (("left out", len(read.rejected), read.kinds), ("mended", len(read.repaired), read.repairs))
    return [f"{number} {what} ({_listed(kinds)})" for what, number, kinds in found if number]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.most_common())
