"""Plans a run: what its calls to models will take, stage by stage, before the first is made."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import NamedTuple

from tuneline.engine.checks import Findings, StageChecks, Where, check_run
from tuneline.engine.journal import StoreJournal
from tuneline.engine.layout import journal_prefix
from tuneline.engine.pipelines import Step
from tuneline.engine.records import forgotten_hashes, hash_of_id
from tuneline.engine.runfile import RunFile
from tuneline.stage import Forecast
from tuneline.store.base import Store


class Plan(NamedTuple):
    """What the stages that are not done expect to take, and what their checks found."""

    forecasts: list[tuple[str, Forecast]]
    findings: Findings


def plan_run(run_file: RunFile, store: Store, where: Where, done: Collection[str]) -> Plan:
    """Check the run, and let every stage but those that are `done` say what its calls to models will take."""
    forecasts: list[tuple[str, Forecast]] = []

    def ask(step: Step, checks: StageChecks) -> None:
        if step.stage.plan is not None:
            with ExitStack() as stack:
                stack.enter_context(checks.about(""))
                planned = step.stage.plan(run_file.params[step.stage.name], StagePlans(checks, step, store))
                forecasts.extend((step.name, forecast) for forecast in planned)

    findings = check_run(run_file, store, where, done, also=ask)
    return Plan(forecasts, findings)


class StagePlans:
    """The Plans of one step (see `tuneline.stage.Plans`): its checks, and the journals of the store to read."""

    def __init__(self, checks: StageChecks, step: Step, store: Store) -> None:
        self.inputs, self.work, self.online = checks.inputs, checks.work, checks.online
        self.read, self.about, self.warn, self.note = checks.read, checks.about, checks.warn, checks.note
        self.setting, self.preview, self.secret, self.made = checks.setting, checks.preview, checks.secret, checks.made
        self._stage, self._store, self._forgotten = step.stage.name, store, forgotten_hashes(store)

    def is_forgotten(self, name: str, sha256: str) -> bool:
        return not self._forgotten.isdisjoint((hash_of_id(name), sha256))

    def journal(self, *scope: str) -> StoreJournal:
        return StoreJournal(self._store, journal_prefix(self._stage, scope), "plan", merge=False)
