"""Trackers: TensorBoard, Trackio, Weights & Biases, MLflow, each in a process of its own.

They get figures and parameters and nothing else: no text, no path, no host, and of the environment only the variables
that VARIABLES names. Where they send it is said by the environment alone, so that a run file cannot send anything
anywhere. A tracker that fails, hangs or is slow is told of once and left behind; the training never waits for one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import structlog

from tuneline.data.training import TrainingRow
from tuneline.errors import UserError
from tuneline.stage import Context, Json

TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]
CLOSE_SECONDS = 20.0
"""How long a tracker may take at the end to deliver what it has been given."""

log = structlog.get_logger()


class Variables(NamedTuple):
    """The module of a tracker, and the names of the variables that it sees: one of `needed` must be set."""

    module: str
    needed: tuple[str, ...]
    others: tuple[str, ...] = ()


VARIABLES: Mapping[TrackerName, Variables] = {
    "tensorboard": Variables("tensorboard", ("TENSORBOARD_LOGDIR",)),
    "trackio": Variables("trackio", ("TRACKIO_DIR", "TRACKIO_SERVER_URL"), ("TRACKIO_WRITE_TOKEN",)),
    "wandb": Variables(
        "wandb", ("WANDB_API_KEY", "WANDB_DIR"), ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_MODE")
    ),
    "mlflow": Variables(
        "mlflow",
        ("MLFLOW_TRACKING_URI",),
        ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_EXPERIMENT_NAME"),
    ),
}
ALL_SEE = ("PATH", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


class Secrets(Protocol):
    """Whatever reads a variable by its name: Context and Checks."""

    def secret(self, name: str) -> str:
        """Return it. Raises UserError if it is not set."""


def require_tracker(name: TrackerName) -> None:
    """Raise UserError if a tracker's package is not installed."""
    if not find_spec(VARIABLES[name].module):
        raise UserError(f"`report_to`: {name} is not installed: pip install 'tuneline-trainer[{name}]'")


def require_place(name: TrackerName, source: Secrets) -> None:
    """Raise UserError if nothing says where a tracker's figures go."""
    if not any(_variable(source, variable) for variable in VARIABLES[name].needed):
        wanted = " or ".join(VARIABLES[name].needed)
        raise UserError(f"`report_to`: {name} sends its figures to where {wanted} says, and that is not set")


def _variable(source: Secrets, name: str) -> str | None:
    try:
        return source.secret(name)
    except UserError:
        return None


class Trackers:
    """The trackers of a training; a context manager around it."""

    def __init__(self, names: Sequence[TrackerName], context: Context, params: Mapping[str, Json]) -> None:
        self._names, self._context, self._params = names, context, params
        self._running: dict[TrackerName, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Trackers:
        self._home = tempfile.TemporaryDirectory(prefix="trackers-")
        for name in self._names:
            self._running[name] = self._started(name)
            self._tell(name, {"name": name, "run": self._context.fingerprint[:12], "params": dict(self._params)})
        return self

    def send(self, rows: Iterable[TrainingRow]) -> None:
        """Give the rows to every tracker that is still there."""
        for row in rows:
            for name in list(self._running):
                self._tell(name, row.model_dump(exclude_none=True))

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            assert process.stdin
            process.stdin.close()
        for name, process in self._running.items():
            try:
                code = process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code:
                self._left_behind(name, code)
        self._home.cleanup()

    def _started(self, name: TrackerName) -> subprocess.Popen[bytes]:
        seen = (*ALL_SEE, *VARIABLES[name].needed, *VARIABLES[name].others)
        values = {variable: _variable(self._context, variable) for variable in seen}
        environ = {variable: value for variable, value in values.items() if value}
        home = Path(self._home.name) / name
        home.mkdir()
        environ |= {
            "HOME": str(home),
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "USER": "",
            "LOGNAME": "tuneline",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tuneline_trainer.record.tracker"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, cwd=home,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin
        # A line is shorter than PIPE_BUF: it is in the pipe whole, or not at all when the tracker has fallen behind.
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _tell(self, name: TrackerName, message: Mapping[str, Json]) -> None:
        process = self._running[name]
        assert process.stdin
        try:
            process.stdin.raw.write(json.dumps(message).encode() + b"\n")  # type: ignore[attr-defined]
        except OSError:
            del self._running[name]
            process.kill()
            self._left_behind(name, process.wait())

    def _left_behind(self, name: TrackerName, code: int) -> None:
        log.warning("a tracker does not get the rest; the training goes on", tracker=name, exit_code=code)
