"""What is left behind: rows as transcripts, the rest with the reasons, the test prompts, figures, a page."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tuneline.data.io import Closed, write_lines, write_record
from tuneline.data.judged import Generated, JudgedExchange, JudgedTranscript, Looked
from tuneline.data.text.overlap import HeldOut
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.stage import Cost, Json, Metrics, Usage, dollars
from tuneline_generator.critic.critic import CriticTest
from tuneline_generator.prepare import Prepared
from tuneline_generator.report.bounds import rate
from tuneline_generator.report.found import Quality
from tuneline_generator.report.gates import Aside, Kind, count_rows, gates_of, refused
from tuneline_generator.report.projection import Taken, project
from tuneline_generator.report.report import write_report
from tuneline_generator.report.wording import mostly, projected, refusal
from tuneline_generator.settle import Settled
from tuneline_generator.stage import GeneratorOutputs
from tuneline_generator.writing.rows import Row, counted

NO_CRITIC = "no critic"
LOOKED: Mapping[Looked, str] = {"nobody": NO_CRITIC, "critic": "critic not tested", "judge": "chosen by a judge"}


class Rejected(Closed):
    """An item that was not kept: a row of rejected.jsonl."""

    id: str
    status: str
    detail: str
    category: str
    prompt: str
    response: str
    margin: float | None
    mass: float | None
    provenance: dict[str, Json]


def judged(
    settled: Settled, prepared: Prepared, critic: CriticTest | None, constant: dict[str, Json], usd: float | None,
    seconds: float,
) -> Quality:  # fmt: skip
    """Hold all rows against the gates, and project if this is the pilot: they took so many `seconds`."""
    rows, params = settled.rows, prepared.params
    assert len(rows) == prepared.scale.items, "an item has no row"
    kept = [row for row in rows if row.status in ("kept", "spare")]
    held_out = HeldOut([*prepared.held_out, *(one.prompt for one in settled.prompts)])
    left = sum(held_out.overlaps(row.asked) for row in kept)
    aside = Aside(len(settled.prompts), prepared.recipe.test_prompts)
    counts = count_rows(rows)
    gates = gates_of(prepared.recipe.kind, params.gates, counts, overlaps_left=left, critic=critic, aside=aside)
    bad = [gate.name for gate in refused(gates, params.gates.require)]
    bad += ["critic_auc"] if prepared.critic and critic is None else []  # too few rows to test it
    of_rows = None if any(row.taken.unpriced for row in rows) else sum(row.taken.cost_usd for row in rows)
    taken = Taken(len(rows), len(kept), seconds, of_rows, prepared.at_once)
    projection = project(params, taken, rate(len(kept), len(rows)).low) if prepared.pilot is None else None
    return Quality(
        pilot=prepared.pilot is None, passed=not bad and bool(kept), refused=bad, items=len(rows), kept=len(kept),
        statuses={**counted(rows)}, gates=gates, looked=prepared.looked, critic=critic,
        projection=projection, usd=usd, rows_usd=of_rows,
        test_prompts=len(settled.prompts), constant=constant,
    )  # fmt: skip


def refuse_failed(quality: Quality) -> None:
    """Raise UserError when all rows together do not pass, although the pilot did. Nothing is published then."""
    if not quality.passed:
        head = f"All {quality.items:,} items are written, and they do not pass:"
        way = "Nothing is published. What was paid is kept: change recipe, writer or `gates`, and run it again."
        raise UserError("\n".join([head, *refusal(quality), way]))


def write_all(settled: Settled, quality: Quality, outputs: GeneratorOutputs, recipe: Kind, by: str) -> None:
    """Write every file. The same arguments give the same bytes."""
    kept = [row for row in settled.rows if row.status == "kept"]
    auc = round(quality.critic.auc, 4) if quality.critic else None
    how = Generated(recipe=recipe, looked=quality.looked, critic_auc=auc)  # of every row, wherever it is taken
    write_lines(outputs.transcripts, (_transcript_row(row, how) for row in kept))
    write_lines(outputs.verdicts, (_verdict(row, by) for row in kept))
    write_lines(outputs.rejected, (_rejected(row) for row in settled.rows if row.status != "kept"))
    write_lines(outputs.prompts, settled.prompts)
    write_record(outputs.quality, quality)
    write_report(outputs.generated, settled.rows, quality)


def metrics(settled: Settled, quality: Quality, cost: Cost, wanted: int) -> Metrics:
    """Say what came out."""
    statuses = quality.statuses
    now = sum((row.now for row in cost.rows), start=Usage())
    total = sum((row.total for row in cost.rows), start=Usage())
    short = f" of {wanted:,} wanted" if statuses["kept"] < wanted and not quality.pilot else ""
    head = [f"{statuses['kept']:,} rows kept{short}, of {quality.items:,} items"]
    if quality.pilot:
        failed = f"{len(quality.refused)} of {len(quality.gates)} gates failed: {', '.join(quality.refused)}"
        head = [f"{quality.kept:,} of {quality.items:,} items are good"]
        head += [failed if quality.refused else "all gates passed" if quality.kept else mostly(quality)]
    head += [f"critic AUC {quality.critic.auc:.2f}" if quality.critic else LOOKED[quality.looked]]
    head += [] if quality.usd is None else [dollars(quality.usd)]
    head += [f"for {wanted:,} rows: {projected(quality.projection)}"] if quality.projection else []
    seen = quality.projection
    counts: dict[str, Json] = {
        "passed": quality.passed, "items": quality.items, "kept": statuses["kept"], "statuses": {**statuses},
        "gates": {g.name: {"value": g.value, "low": g.low, "high": g.high, "state": g.state} for g in quality.gates},
        "critic_auc": quality.critic.auc if quality.critic else None, "test_prompts": quality.test_prompts,
        "calls_now": now.calls, "tokens_out": total.output_tokens,
        "projected_usd": seen.usd if seen else None, "projected_hours": seen.hours if seen else None,
        "projected_items": seen.items if seen else None, "parts": seen.parts if seen else None,
    }  # fmt: skip
    return Metrics(headline="; ".join(head), counts=counts, cost=cost)


def _provenance(row: Row) -> dict[str, Json]:
    beside = {"margin": row.margin, "mass": row.mass}
    said: dict[str, Json] = {name: round(value, 6) for name, value in beside.items() if value is not None}
    return (row.how.as_json() if row.how else {}) | said


def _transcript_row(row: Row, how: Generated) -> JudgedTranscript:
    said = [JudgedExchange(user=one.user, assistant=one.assistant) for one in row.exchanges]
    provenance = how.model_dump(mode="json") | _provenance(row)
    return JudgedTranscript(id=row.id, persona=row.category, exchanges=said, provenance=provenance)


def _verdict(row: Row, by: str) -> Verdict:
    """Return what the critic found: its score is P(yes) of yes and no together; without a critic it is 1."""
    if row.verdict:
        return row.verdict
    share = 1.0 if row.margin is None else 1 / (1 + math.exp(-max(-700.0, min(700.0, row.margin))))
    return Verdict(
        id=row.id, sha256=row.transcript.sha256, status="scored", answers={}, reasons={}, category_scores={},
        score=round(share, 6), passed=True, failed_gates=[], judge=by, usage=row.critic_usage,
    )  # fmt: skip


def _rejected(row: Row) -> Rejected:
    return Rejected(
        id=row.id, status=row.status, detail=row.detail, category=row.category, prompt=row.prompt,
        response=row.response, margin=row.margin, mass=row.mass, provenance=_provenance(row),
    )  # fmt: skip
