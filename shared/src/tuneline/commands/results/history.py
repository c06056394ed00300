"""Every evaluated run of a store in one table, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuneline.commands.results.rows import read_compared
from tuneline.commands.show import names_of
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.stage import Closed, InputRecord
from tuneline.store.base import Store


class HistoryRow(Closed):
    """One run. Scores of two rows are one measure only where `rubric` and `judge` are equal."""

    run: str
    finished_at: str
    model: str
    outcome: str
    personas: int
    base: float | None
    finetuned: float | None
    difference: float | None
    p: float | None
    """Two-sided sign-flip p of the difference of the scores."""
    rubric: str | None
    """First digits of its hash."""
    judge: str | None
    cost_usd: float


def history(store: Store) -> list[HistoryRow]:
    """Read every run of a store that was evaluated, oldest first."""
    found = ((run, pinned_manifest(store, run, "evaluator")) for run in names_of(store))
    rows = [_row(store, run, manifest) for run, manifest in found if manifest and "comparison" in manifest.outputs]
    return sorted(rows, key=lambda row: (row.finished_at, row.run))


def _row(store: Store, run: str, manifest: Manifest) -> HistoryRow:
    compared = read_compared(store, manifest)
    return HistoryRow(
        run=run, finished_at=manifest.finished_at, model=compared.served("finetuned"), outcome=compared.outcome,
        personas=compared.score.personas, base=compared.base.mean_score, finetuned=compared.finetuned.mean_score,
        difference=compared.score.mean_difference, p=compared.score.sign_flip_p,
        rubric=_short(manifest.inputs.get("rubric")), judge=_short(manifest.inputs.get("judge")),
        cost_usd=manifest.metrics.cost.total_usd,
    )  # fmt: skip


def history_lines(rows: Sequence[HistoryRow]) -> Iterator[str]:
    """Yield the table, with a line where rubric or judge change and scores above and below are not one measure."""
    if not rows:
        yield "No run of this store was evaluated yet."
        return
    wide = max(len(row.run) for row in rows)
    yield f"{'run':{wide}}  {'day':10}  {'base':>6}  {'tuned':>6}  {'change':>6}  {'p':>6}  {'of':>4}  verdict"
    before: tuple[str | None, str | None] | None = None
    for row in rows:
        measure = row.rubric, row.judge
        if before and measure != before:
            changed = [name for name, a, b in zip(("rubric", "judge"), before, measure, strict=True) if a != b]
            yield f"  from here on another {' and another '.join(changed)}: scores above and below are not one measure"
        before = measure
        figures = f"{_points(row.base):>6}  {_points(row.finetuned):>6}  {_points(row.difference, '+'):>6}"
        p = "-" if row.p is None else "<0.001" if row.p < 0.001 else f"{row.p:.3f}"
        yield f"{row.run:{wide}}  {row.finished_at[:10]}  {figures}  {p:>6}  {row.personas:>4}  {row.outcome}"


def _points(share: float | None, sign: str = "") -> str:
    return "-" if share is None else f"{100 * share:{sign}.1f}"


def _short(record: InputRecord | None) -> str | None:
    return record.sha256[:8] if record else None
