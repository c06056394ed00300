"""Runs a whole run file on one machine: each stage as its own process, in dependency order, with live progress."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tuneline.commands.show import essence
from tuneline.commands.stage import EXIT_NO
from tuneline.commands.status import status_of
from tuneline.commands.watch import status_lines
from tuneline.engine.layout import run_key
from tuneline.engine.pins import note_inputs, refuse_other_params
from tuneline.engine.pipelines import Step
from tuneline.engine.records import pinned_manifest
from tuneline.engine.runfile import RunFile
from tuneline.engine.runner import find, new_job, reuse, work_folder
from tuneline.errors import StageFailed, Temporary, UserError
from tuneline.parsing.problems import printable
from tuneline.store.base import Store, is_local, local_path
from tuneline.store.verify import FileCache

CACHE = "files"
"""Folder of the files that the stages of this run share; it goes when the run ends."""

STOP_SECONDS = 25.0
"""After Ctrl-C the stages have this long to save; it is longer than the grace period that they give themselves."""

TELL_SECONDS = 30.0
"""Without a terminal to draw in, what goes on is said this often."""


@dataclass
class _Child:
    step: Step
    process: subprocess.Popen[bytes]
    log: Path
    progress: Path
    task: TaskID
    shown: str = ""
    read: int = 0
    """Bytes of the log that were looked through."""


@dataclass
class LocalRun:
    """A run on this machine. `at_once` stages run at the same time where the order allows it."""

    run_file: RunFile
    store: Store
    replace: bool
    at_once: int
    console: Console
    verbose: bool = False
    """Whether the stages' logs are shown."""
    _done: set[str] = field(default_factory=set)
    _checked: bool = False
    _stops: int = 0
    """How often a person asked for the end."""
    _told_at: float = 0.0

    def run(self) -> bool:
        """Bring every stage of the run up to date. Returns False if there was nothing to do.

        Raises UserError before any stage starts, StageFailed when one fails, Temporary when it was interrupted.
        """
        if not self.replace:
            refuse_other_params(self.run_file, self.store)
        worked = False
        with self._signals(), tempfile.TemporaryDirectory(prefix="tuneline-") as folder, self._progress() as progress:
            children: list[_Child] = []
            try:
                while len(self._done) < len(self.run_file.steps):
                    step = self._next(children)
                    if step is None:
                        self._poll(children, progress)
                    elif self._found(step, Path(folder)):
                        self._done.add(step.name)
                        self.console.print(f"[dim]{step.name}: found[/]")
                    else:
                        worked = True
                        self._check(Path(folder))
                        children.append(self._start(step, Path(folder), progress))
            finally:
                self._end(children)
        return worked

    def _next(self, children: list[_Child]) -> Step | None:
        """Return what may start now. What can be refused is checked already, so none waits for another's start."""
        busy = {child.step.name for child in children}
        if len(busy) < self.at_once:
            for step in self.run_file.steps:
                if step.name not in self._done | busy and self._done.issuperset(step.needs):
                    return step
        return None

    def _found(self, step: Step, folder: Path) -> bool:
        try:
            return self._reuse(step, folder)
        except UserError:
            self._check(folder)  # says this too, and all else that is wrong
            raise

    def _check(self, folder: Path) -> None:
        """Once, before the first stage starts, check what is given to those that are not done yet."""
        from tuneline.engine.checks import Where, check_run  # a run that is up to date needs neither

        if not self._checked:
            self._checked = True
            where = Where(folder / "check", FileCache(folder / CACHE), work=work_folder(self.store))
            for text in check_run(self.run_file, self.store, where, self._done).settle():
                self.console.print(f"[yellow]warning[/]: {escape(printable(text))}")

    def _reuse(self, step: Step, folder: Path) -> bool:
        with new_job(self.run_file, step, self.store, replace=self.replace, cache=folder / CACHE) as job:
            found = find(job)
            if reuse(job, found) is not None:
                return True
            note_inputs(job, found)
            return False

    def _start(self, step: Step, folder: Path, progress: Progress) -> _Child:
        program = Path(sys.executable).parent / f"tuneline-{step.stage.name}"
        words = ["run", "--file", self.run_file.source.name, "--store", self.store.uri, "--run", self.run_file.run]
        words += ["--variant", step.variant] if step.variant else []
        words += ["--shard", str(step.shard)] if step.shard else []
        words += ["--replace"] if self.replace else []
        words += [word for setting in self.run_file.settings for word in ("--set", setting)]
        log, written = (folder / f"{step.name.replace('/', '.')}.{kind}" for kind in ("log", "progress"))
        environ = os.environ | {"ARGO_PROGRESS_FILE": str(written), "TUNELINE_PARENT": str(os.getpid())}
        environ["TUNELINE_CACHE"] = str(folder / CACHE)
        environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # stages share the cores: no thread may wait in a busy loop
        with log.open("wb") as out:
            # A session of its own: Ctrl-C reaches us alone, and we tell the stages.
            process = subprocess.Popen([program, *words], stdout=out, stderr=out, env=environ, start_new_session=True)
        if not self.console.is_terminal:
            self.console.print(f"{step.name}: started")
        return _Child(step, process, log, written, progress.add_task(step.name, total=None))

    def _poll(self, children: list[_Child], progress: Progress) -> None:
        time.sleep(0.1)
        if self._stops:
            raise Temporary("stopped; run the same command again to resume from here")
        self._tell_status(children)
        for child in list(children):
            self._show(child, progress)
            self._tell(child)
            code = child.process.poll()
            if code is not None:
                children.remove(child)
                self._finish(child, code, progress)

    def _show(self, child: _Child, progress: Progress) -> None:
        written = child.progress.read_text() if child.progress.exists() else ""
        if written and written != child.shown:
            child.shown = written
            done, _, total = written.partition("/")
            progress.update(child.task, completed=int(done), total=int(total))

    def _tell_status(self, children: list[_Child]) -> None:
        if not self.console.is_terminal and time.monotonic() - self._told_at >= TELL_SECONDS:
            names = {child.step.name for child in children if child.shown}
            with suppress(Temporary, UserError):  # a look that fails stops nothing
                status = status_of(self.store, self.run_file.run) if self._told_at and names else None
                for step, line in zip(status.steps, list(status_lines(status))[1:], strict=True) if status else ():
                    if step.step in names:
                        self.console.print(line, markup=False)
            self._told_at = time.monotonic()

    def _tell(self, child: _Child) -> None:
        """Show what a stage says that it waits for, since that may take hours; or all that it says."""
        with child.log.open("rb") as file:
            file.seek(child.read)
            new = file.read().rpartition(b"\n")[0]
        child.read += len(new)
        if self.verbose:
            for line in new.decode(errors="replace").splitlines():
                self.console.print(f"{child.step.name}: {printable(line)}", markup=False)
            return
        for said in re.findall(r'event="(waiting [^"]*)"', new.decode(errors="replace")):
            self.console.print(f"{child.step.name}: {escape(printable(said))}")

    def _finish(self, child: _Child, code: int, progress: Progress) -> None:
        self._keep_log(child)
        if code and code != EXIT_NO:  # what a policy says no to was made, and is told at the end
            self.console.print(f"[bold red]{child.step.name} failed[/]")
            print("\n".join(_last_words(child.log)), file=sys.stderr)  # noqa: T201
            raise StageFailed(code if code > 0 else 128 - code)
        self._done.add(child.step.name)
        task = progress.tasks[progress.task_ids.index(child.task)]
        progress.update(child.task, total=task.total or 1, completed=task.total or 1)
        manifest = pinned_manifest(self.store, self.run_file.run, child.step.node)
        if manifest is not None:
            told = escape(printable(manifest.metrics.headline or "made"))
            self.console.print(f"[green]{child.step.name}[/]: {told} [dim]({manifest.seconds} s)[/]")

    def _keep_log(self, child: _Child) -> None:
        if not is_local(self.store.uri):
            return
        folder = local_path(self.store.uri) / run_key(self.run_file.run)
        if folder.is_dir():  # a request that was refused leaves nothing behind, not even a log
            (folder / "logs").mkdir(exist_ok=True)
            (folder / "logs" / child.log.name).write_bytes(child.log.read_bytes())

    def _end(self, children: list[_Child]) -> None:
        """End what runs, after a time to save what it has; at once if a person asks a second time."""
        if self._stops and children:
            names = ", ".join(child.step.name for child in children)
            self.console.print(f"stopping {names}: at most {STOP_SECONDS:.0f} s to save; Ctrl-C again leaves at once")
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while any(child.process.poll() is None for child in children):
            if self._stops > 1 or time.monotonic() > deadline:
                for child in children:
                    child.process.kill()
            time.sleep(0.05)
        for child in children:
            self._keep_log(child)
            if self._stops:
                self.console.print("\n".join(f"{child.step.name}: {escape(line)}" for line in _last_words(child.log)))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stops += 1

        before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self.console, disable=not self.console.is_terminal)


def _last_words(log: Path) -> list[str]:
    """Return the end of what a stage printed, without its log."""
    lines = map(printable, log.read_text(errors="replace").splitlines()[-30:])
    return [line for line in lines if not line.startswith("timestamp=")]


def conclusion(run_file: RunFile, store: Store) -> Iterator[str]:
    """Yield what a run came to: the headline of its last stage, and where its pages for people lie."""
    last = run_file.steps[-1]
    manifest = pinned_manifest(store, run_file.run, last.node)
    if manifest is None:
        raise UserError(f"run {run_file.run} has no result of {last.name}")
    for name, text in essence(store, run_file.run, last.name, manifest).items():
        if name == "headline":
            yield f"Verdict: {text}" if "verdict" in manifest.metrics.counts else text
        else:
            yield f"{name.capitalize()}: {text}"
