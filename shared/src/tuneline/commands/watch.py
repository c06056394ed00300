"""A run's status for people: a table, redrawn until the run is over, or a page; and an exit code for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape

from tuneline.commands.status import RunStatus, StepStatus, all_runs, status_of
from tuneline.engine.heartbeat import age_seconds
from tuneline.errors import Temporary, UserError
from tuneline.parsing.problems import printable
from tuneline.stage import dollars, span
from tuneline.store.base import Store

WATCH_SECONDS = 2.0
"""How often a run is looked at."""
_BAR = 16


def status_lines(status: RunStatus, width: int = 0) -> Iterator[str]:
    """Yield a table of the run; lines are cut to `width`, if there is one."""
    facts = [f"{status.count('done')} of {len(status.steps)} done"]
    if status.cost_usd or status.max_usd:
        limit = f" of {dollars(status.max_usd)}" if status.max_usd is not None else ""
        facts.append(f"{dollars(status.cost_usd)}{limit}")
    facts += [f"started {span(age_seconds(status.started_at))} ago"] if status.started_at else []
    facts += [f"last sign of life {span(age_seconds(status.sign_at))} ago"] if status.sign_at else []
    yield f"run {status.run}: {' · '.join(facts)}"
    name = max((len(step.step) for step in status.steps), default=0)
    for step in status.steps:
        line = f"{step.step:{name}}  {step.state:7}  {'  '.join(filter(None, _cells(step)))}".rstrip()
        line = printable(line)
        yield f"{line[: width - 1]}…" if width and len(line) > width else line


def _cells(step: StepStatus) -> Iterator[str]:
    if step.total:
        full = round(_BAR * min(1.0, (step.done or 0) / step.total))
        yield f"{step.done:,}/{step.total:,} {'█' * full}{'░' * (_BAR - full)}"
    if step.processes > 1 or step.lost:
        yield f"{step.processes} parts" + (f", {step.lost} lost" if step.lost else "")
    yield " ".join(step.text.split()) if step.text != "working" else ""
    if step.seconds_left is not None:
        yield f"{span(step.seconds_left)} left"
    if step.seconds is not None:
        yield span(step.seconds)
    if step.cost_usd:
        yield dollars(step.cost_usd)


def run_list(store: Store) -> Iterator[str]:
    """Yield a line per run of a store, the last sign of life first."""
    found = all_runs(store)
    width = max((len(status.run) for status in found), default=0)
    for status in found:
        when = f"{span(age_seconds(status.sign_at))} ago" if status.sign_at else ""
        last = next((s for s in reversed(status.steps) if s.state == "done"), None)
        text = f"{last.step}: {' '.join(last.text.split())}" if last else ""
        line = f"{status.run:{width}}  {_in_short(status):10}  {when:>14}  {text}"
        yield printable(line.rstrip())


def _in_short(status: RunStatus) -> str:
    for state in ("running", "failed", "lost", "stopped"):
        if any(step.state == state for step in status.steps):
            return state
    return "done" if not status.count("waiting") else f"{status.count('done')}/{len(status.steps)} done"


def wait(store: Store, run: str, timeout_s: float | None, show: Callable[[RunStatus], None]) -> RunStatus:
    """Look at a run until it is over, and call `show` with each status. Raises Temporary after `timeout_s` seconds."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        status = status_of(store, run)
        show(status)
        if status.is_over:
            return status
        if end is not None and time.monotonic() >= end:
            raise Temporary(f"run {run} is not over after {span(timeout_s or 0)}.")
        time.sleep(WATCH_SECONDS)


def refuse_unfinished(status: RunStatus) -> None:
    """Raise UserError for a run that failed, Temporary for one that was stopped or lost."""
    for step in status.steps:
        if step.state == "failed":
            raise UserError(f"{step.step} failed: {step.text}")
    for step in status.steps:
        if step.state in ("lost", "stopped"):
            raise Temporary(f"{step.step} {step.state} {step.text}")


def seconds_of(text: str) -> float:
    """Read a time as people write it: `90`, `90s`, `30m`, `2h`, `1d`. Raises UserError."""
    number, unit = (text[:-1], text[-1]) if text and text[-1] in "smhd" else (text, "s")
    try:
        value = float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UserError(f"{text!r} is no time; write 90s, 30m, 2h or 1d")
    return value


def page_of(status: RunStatus) -> str:
    """Return a page that a browser reads again every ten seconds while the run goes on."""
    again = "" if status.is_over else '<meta http-equiv="refresh" content="10">'
    text = escape("\n".join(status_lines(status)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}<title>{escape(status.run)}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<style>:root{color-scheme:light dark}body{margin:2rem;font:15px/1.6 ui-monospace,monospace}"
        f"pre{{white-space:pre-wrap}}</style></head><body><pre>{text}</pre></body></html>\n"
    )
