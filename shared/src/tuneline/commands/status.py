"""What goes on in a run, read from its store alone: results, failures, and signs of life."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tuneline.commands.costs import ledger_of
from tuneline.commands.show import failures_of, names_of, no_run, pinned_of
from tuneline.engine.heartbeat import LOST_SECONDS, Beat, PlannedSteps, age_seconds
from tuneline.engine.layout import is_sign_of_life, live_steps_key, run_key
from tuneline.engine.records import Failure, Manifest, parse, read
from tuneline.stage import Closed
from tuneline.store.base import Store, in_parallel

State = Literal["done", "running", "lost", "failed", "stopped", "waiting"]


class StepStatus(Closed):
    """One step of a run. Processes that share its work are added up."""

    step: str
    state: State
    text: str = ""
    """What came out, what is being done, why it failed, or what it waits for."""
    done: int | None = None
    total: int | None = None
    processes: int = 0
    """Those that share the work and have not ended, lost ones included."""
    lost: int = 0
    """Those of them that nobody has heard of for a minute."""
    seconds_left: float | None = None
    """At the pace of those that live."""
    seconds: float | None = None
    """How long it took, or has taken so far."""
    cost_usd: float = 0.0
    """What this run paid for its calls to models, in all attempts."""
    sign_at: str | None = None
    """The last sign of life, as ISO 8601 in UTC."""


class RunStatus(Closed):
    """A run: its steps in order, those that its plan has and those that left something."""

    run: str
    steps: tuple[StepStatus, ...]
    cost_usd: float
    max_usd: float | None
    started_at: str | None
    sign_at: str | None

    def count(self, *states: State) -> int:
        return sum(step.state in states for step in self.steps)

    @property
    def is_over(self) -> bool:
        """Whether nothing works, and nothing will unless somebody starts it."""
        return not self.count("running") and (self.count("failed", "lost", "stopped") > 0 or not self.count("waiting"))


def status_of(store: Store, run: str) -> RunStatus:
    """Return what is known of a run. Raises UserError when the store knows no such run."""
    plan, beats = read(PlannedSteps, store, live_steps_key(run)), _beats(store, run)
    results = dict(sorted(pinned_of(store, run).items(), key=lambda item: item[1].finished_at))
    failures = {failure.stage: failure for failure in failures_of(store, run)}
    if plan is None and not (beats or results or failures):
        raise no_run(store, run)
    paid: dict[str, float] = {}
    for row in ledger_of(store, run, results):
        paid[row.stage] = paid.get(row.stage, 0.0) + row.paid.usage.cost_usd
    needs = {step.node: step.needs for step in plan.steps} if plan else {}
    steps = []
    for name in dict.fromkeys([*needs, *results, *beats, *failures]):
        step = _step(name, results.get(name), beats.get(name, []), failures.get(name))
        missing = [need for need in needs.get(name, ()) if need not in results]
        waits = {"text": f"for {', '.join(missing)}"} if step.state == "waiting" and missing else {}
        steps.append(step.model_copy(update={**waits, "cost_usd": round(paid.get(name, 0.0), 6)}))
    begun = [b.started_at for some in beats.values() for b in some] + [m.started_at for m in results.values()]
    return RunStatus(
        run=run, steps=tuple(steps), cost_usd=round(sum(paid.values()), 6), max_usd=plan.max_usd if plan else None,
        started_at=min(begun, default=None), sign_at=max((s.sign_at for s in steps if s.sign_at), default=None),
    )  # fmt: skip


def all_runs(store: Store) -> list[RunStatus]:
    """Return every run of a store, the last sign of life first."""
    found = in_parallel(lambda name: status_of(store, name), names_of(store))
    return sorted(found, key=lambda status: status.sign_at or "", reverse=True)


def _beats(store: Store, run: str) -> dict[str, list[Beat]]:
    found: dict[str, list[Beat]] = {}
    keys = [e.key for e in store.list(run_key(run, "live", "")) if is_sign_of_life(e.key)]
    for key, data in zip(keys, in_parallel(store.get, keys), strict=True):
        if data is not None:
            beat = parse(Beat, data, key)
            found.setdefault(beat.node, []).append(beat)
    return found


def _step(name: str, result: Manifest | None, beats: Sequence[Beat], failure: Failure | None) -> StepStatus:
    """Tell a step's state: who works on it counts before what is there, and what came last before what was earlier."""
    unended = [beat for beat in beats if beat.ended is None]
    alive = [beat for beat in unended if age_seconds(beat.beat_at) <= LOST_SECONDS]
    last = max(beats, key=lambda beat: beat.beat_at, default=None)
    if alive:
        return _running(name, beats, unended, alive)
    if result and (last is None or last.beat_at <= result.finished_at or last.ended == 0):
        text, seconds = result.metrics.headline or "made", result.seconds
        return StepStatus(step=name, state="done", text=text, seconds=seconds, sign_at=result.finished_at)
    if failure and (last is None or last.ended is not None or last.beat_at <= failure.failed_at):
        why = failure.message or " at ".join([failure.type, *failure.frames[-1:]])
        return StepStatus(step=name, state="failed", text=why, sign_at=failure.failed_at)
    if last and (unended or last.ended):
        return _at_rest(name, unended or beats, None if unended else last.ended)
    return StepStatus(step=name, state="waiting", sign_at=last.beat_at if last else None)


def _running(name: str, beats: Iterable[Beat], unended: Sequence[Beat], alive: Sequence[Beat]) -> StepStatus:
    done, total = sum(beat.done for beat in beats), sum(beat.total for beat in beats)
    rates = [beat.per_second for beat in alive if beat.per_second]
    notes = dict.fromkeys(beat.note or beat.phase for beat in alive)
    return StepStatus(
        step=name, state="running", text=", ".join(notes), done=done if total else None, total=total or None,
        processes=len(unended), lost=len(unended) - len(alive),
        seconds_left=round((total - done) / sum(rates), 1) if rates and total > done else None,
        seconds=round(max(age_seconds(beat.started_at) for beat in alive), 1),
        sign_at=max(beat.beat_at for beat in alive),
    )  # fmt: skip


def _at_rest(name: str, beats: Sequence[Beat], code: int | None) -> StepStatus:
    """Return the status of a step whose processes are lost, or ended without a result."""
    done, total = sum(beat.done for beat in beats), sum(beat.total for beat in beats)
    text = f"at {done:,} of {total:,}" if total else "before the first step"
    state: State = "lost" if code is None else "stopped" if code == 75 else "failed"
    text = f"{text}, with exit code {code}" if state == "failed" else f"{text}; run the same command again"
    sign_at = max(beat.beat_at for beat in beats)
    return StepStatus(step=name, state=state, text=text, processes=len(beats), sign_at=sign_at)
