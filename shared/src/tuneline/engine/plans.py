"""Plans a run: what its calls to models will take, stage by stage, before the first is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.checks import Findings, StageChecks, Where, check_run
from tuneline.engine.journal import StoreJournal
from tuneline.engine.layout import journal_prefix, result_key
from tuneline.engine.pipelines import Step
from tuneline.engine.records import Manifest, forgotten_hashes, is_forgotten, read
from tuneline.engine.runfile import RunFile
from tuneline.errors import UserError
from tuneline.stage import Forecast, Json
from tuneline.store.base import Store


class Plan(NamedTuple):
    """What the stages that are not done expect to take, and what their checks found."""

    forecasts: list[tuple[str, Forecast]]
    findings: Findings


def plan_run(run_file: RunFile, store: Store, where: Where, done: Mapping[str, Manifest]) -> Plan:
    """Check the run, and let every stage but those that are `done` say what its calls to models will take."""
    forecasts: list[tuple[str, Forecast]] = []

    def ask(step: Step, checks: StageChecks) -> None:
        if step.stage.plan is None:
            return
        variants: dict[str | None, Step] = {}  # a check is the same for all of a stage, and what it takes is not
        for one in run_file.steps:
            if one.stage is step.stage and one.name not in done:
                variants.setdefault(one.variant, one)
        for one in variants.values():
            with checks.about(""):
                plans = StagePlans(checks, one, store, where.folder / "made", done)
                planned = step.stage.plan(run_file.params[step.stage.name], plans)
                forecasts.extend((one.name, forecast) for forecast in planned)

    findings = check_run(run_file, store, where, done, also=ask)
    return Plan(forecasts, findings)


class StagePlans:
    """The Plans of one step (see `tuneline.stage.Plans`): its checks, and the journals of the store to read."""

    def __init__(
        self, checks: StageChecks, step: Step, store: Store, folder: Path, done: Mapping[str, Manifest]
    ) -> None:
        self.inputs, self.work, self.online = checks.inputs, checks.work, checks.online
        self.read, self.about, self.warn, self.note = checks.read, checks.about, checks.warn, checks.note
        self.setting, self.preview, self.secret = checks.setting, checks.preview, checks.secret
        self.place, self.origin = checks.place, checks.origin
        self.variant = step.variant
        self.max_usd, self.gate, self._previewed = checks.max_usd, checks.gate, checks.made
        self._folder, self._done = folder, done
        self._stage, self._store, self._forgotten = step.stage.name, store, forgotten_hashes(store)

    def is_forgotten(self, name: str, sha256: str) -> bool:
        return is_forgotten(self._forgotten, name, sha256)

    def earlier(self, stage: str) -> Iterator[Mapping[str, Json]]:
        keys = [entry for entry in self._store.list(f"{result_key(stage, '')}") if entry.key.endswith("/manifest.json")]
        for entry in sorted(keys, key=lambda entry: -entry.modified):
            with suppress(UserError):  # a damaged one tells nothing
                if (manifest := read(Manifest, self._store, entry.key)) is not None:
                    yield manifest.metrics.counts

    def made(self, stage: str, port: str) -> Path | None:
        previewed, output = self._previewed(stage, port), None
        if previewed is None and stage in self._done:
            output = self._done[stage].outputs.get(port)
        if output is None or output.kind == "folder":
            return previewed
        place = self._folder / stage / output.path
        self._store.download(output.files[output.path], place)
        return place

    def journal(self, *scope: str) -> StoreJournal:
        return StoreJournal(self._store, journal_prefix(self._stage, scope), "plan", merge=False)
