"""The processes of a training on several GPUs, started and watched by the process that the runner began.

That one computes nothing. It is told by the first of them how the training goes, and tells it when to stop. When one of
them ends before its time all end: a checkpoint is all or nothing, and without one process no step can be computed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import NamedTuple

import structlog

from tuneline.errors import Temporary, UserError
from tuneline.model.children import ending, environment, tied_to_us
from tuneline_trainer.training.guard import Told
from tuneline_trainer.training.prepare import Prepared

WORK, MEETING = "work.pickle", "meeting"
"""Files in the folder in which checkpoints are written: what is to be done, and where the processes meet."""

SETTLING_SECONDS = 1.0
"""After a process has ended, how long the others may take to notice: which of them was the first is then known."""

# Settings of the libraries that compute and of their caches, which one process alone would see too.
PREFIXES = ("NCCL_", "TORCH", "PYTORCH_", "TRITON_", "CUBLAS_", "XDG_CACHE_")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0", "NCCL_SOCKET_IFNAME": "lo"}

log = structlog.get_logger()


class Work(NamedTuple):
    """What to train, from which checkpoint, and the folder that checkpoints are written in."""

    prepared: Prepared
    checkpoint: Path | None
    saving: Path


class Step(NamedTuple):
    """So many steps are done; the answer is whether to stop."""

    done: int
    total: int


class Entry(NamedTuple):
    """An entry of the log of transformers."""

    values: Mapping[str, float]


class Finished(NamedTuple):
    """The process has done its work, and held so many bytes at most."""

    peak_bytes: int


class Failed(NamedTuple):
    """The process has raised an error: a refusal with its reason, or one of another type, and where."""

    refusal: str | None
    type: str
    frames: Sequence[str]


Message = Step | Entry | Finished | Failed


def train_together(work: Work, told: Told) -> int:
    """Let the processes train to the end. Returns the most bytes that one of them held.

    Raises Temporary when one was ended from outside, or when `told` wants to stop and the step is saved; UserError for
    what a process refuses.
    """
    plan = work.saving / WORK
    plan.write_bytes(pickle.dumps(work))
    with Crew(work.prepared.processes, plan) as crew:
        return crew.follow(told)


class Crew:
    """The processes; a context manager that leaves none behind."""

    def __init__(self, count: int, plan: Path) -> None:
        self._count, self._plan = count, plan
        self._members: list[tuple[Connection, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Crew:
        try:
            for rank in range(self._count):
                self._members.append(self._started(rank))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in self._members:
            connection.close()
            process.kill()
        for _connection, process in self._members:
            process.wait()

    def follow(self, told: Told) -> int:
        """Hear what the processes say until the last one has finished."""
        working, stopped, peak = {connection for connection, _ in self._members}, None, 0
        while working:
            for connection in wait(list(working)):
                assert isinstance(connection, Connection)
                match _received(connection):
                    case Step(done, total):
                        try:
                            told.progress(done, total)
                        except Temporary as stop:
                            stopped = stop
                        _answer(connection, stop=stopped is not None)
                    case Entry(values):
                        told.add(values)
                    case Finished(bytes_held):
                        peak = max(peak, bytes_held)
                        working.remove(connection)
                    case message:
                        raise self._cause(connection, message)
        if stopped:
            raise stopped
        return peak

    def _started(self, rank: int) -> tuple[Connection, subprocess.Popen[bytes]]:
        ours, theirs = Pipe()
        words = [str(word) for word in (theirs.fileno(), rank, self._count, self._plan)]
        kept = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}
        with theirs:
            process = subprocess.Popen(
                tied_to_us([sys.executable, "-P", "-m", "tuneline_trainer.training.rank", *words]),
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
                env=environment() | kept | LOOPBACK | {"CUDA_VISIBLE_DEVICES": gpu_of(rank)},
            )  # fmt: skip
        return ours, process

    def _cause(self, ended: Connection, message: Failed | None) -> Exception:
        """Return why the training ended: the others fail as well when one of them is gone."""
        time.sleep(SETTLING_SECONDS)
        failures = []
        for number, (connection, _) in enumerate(self._members, 1):
            if failure := message if connection is ended else _last(connection):
                failures.append(failure)
                if not failure.refusal:
                    log.error("a process failed", process=number, type=failure.type, frames=list(failure.frames))
        for failure in failures:
            if failure.refusal:
                return UserError(failure.refusal)
        for number, (_, process) in enumerate(self._members, 1):
            if (status := process.poll()) is not None and (status < 0 or not failures):
                what = f"process {number} of {self._count} of the training was ended by {ending(status)}"
                return Temporary(f"{what}; run the same command again to go on from its last checkpoint")
        return RuntimeError(f"a process of the training failed: {', '.join(failure.type for failure in failures)}")


def gpu_of(rank: int) -> str:
    """Return the one GPU that a process sees, by its name among those that we see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[rank] if visible else str(rank)


def _received(connection: Connection) -> Message | None:
    """Return what a process says, None when it is gone."""
    try:
        message: Message = connection.recv()
    except (EOFError, ConnectionError):
        return None
    return message


def _last(connection: Connection) -> Failed | None:
    """Return the failure that a process has told before it ended, if it has."""
    while connection.poll():
        if isinstance(message := _received(connection), Failed):
            return message
        if message is None:
            break
    return None


def _answer(connection: Connection, *, stop: bool) -> None:
    """Answer a process; that it is gone is heard next."""
    with suppress(ConnectionError):
        connection.send(stop)
