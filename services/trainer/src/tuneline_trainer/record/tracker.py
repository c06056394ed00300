"""The process of one tracker: reads its name and then rows from standard input, and hands them to the tracker's client.

What each client would send of its own accord (command line, git state, code, host name, user, packages, hardware) is
switched off. A step that the tracker knows from an earlier attempt is not sent again.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = "tuneline"
HOST = "tuneline"
Figures = dict[str, float]
Config = Mapping[str, Any]


class Client(NamedTuple):
    """A tracker's run. `last` is the step that an earlier attempt sent last, -1 without."""

    last: int
    send: Callable[[int, Figures], object]
    close: Callable[[], object]


def tensorboard(run: str, config: Config) -> Client:
    """Write an event file, without the name of this machine in its name."""
    import time

    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = Path(os.environ["TENSORBOARD_LOGDIR"]) / run
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir()))
    file = (folder / f"events.out.tfevents.{number:010}.{HOST}").open("xb")
    writer = RecordWriter(file)

    def write(**fields: Any) -> None:
        writer.write(Event(wall_time=time.time(), **fields).SerializeToString())
        writer.flush()

    write(file_version="brain.Event:2")
    begun: list[int] = []

    def send(step: int, figures: Figures) -> None:
        if not begun:  # TensorBoard drops what an earlier attempt wrote from this step on
            begun.append(step)
            write(step=step, session_log=SessionLog(status=SessionLog.START))
        write(step=step, summary=Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in figures.items()]))

    return Client(-1, send, writer.close)


def trackio(run: str, config: Config) -> Client:
    """Go on with the run of this name, in a local folder or on a server of one's own."""
    import trackio as client
    from trackio.sqlite_storage import SQLiteStorage

    opened = client.init(
        project=PROJECT, name=run, config=dict(config), resume="allow", embed=False, auto_log_gpu=False,
        auto_log_cpu=False,
    )  # fmt: skip
    last = SQLiteStorage.get_max_step_for_run(PROJECT, run)
    return Client(-1 if last is None else last, lambda step, figures: opened.log(figures, step=step), opened.finish)


def wandb(run: str, config: Config) -> Client:
    """Go on with the run of this id; with WANDB_MODE=offline only a folder is written."""
    import wandb as client

    opened = client.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT), id=run, name=run, config=dict(config), resume="allow",
        save_code=False,
        settings=client.Settings(
            console="off", disable_code=True, disable_git=True, disable_job_creation=True, host=HOST, program=HOST,
            username=HOST, email="", silent=True, x_disable_machine_info=True, x_disable_meta=True,
            x_disable_stats=True, x_save_requirements=False,
        ),
    )  # fmt: skip
    return Client(opened.step - 1, lambda step, figures: opened.log(figures, step=step), opened.finish)


def mlflow(run: str, config: Config) -> Client:
    """Go on with the run of this name. The fluent interface would add user, program and git commit as tags."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # a folder needs no server, and so no network
    import time

    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    found = client.search_runs([number], f"tags.`mlflow.runName` = '{run}'", max_results=1)
    opened = found[0] if found else client.create_run(number, run_name=run)
    number = opened.info.run_id
    if not found:
        client.log_batch(number, params=[Param(key, str(value)) for key, value in config.items()])
    sent = client.get_metric_history(number, "loss") if found else []

    def send(step: int, figures: Figures) -> None:
        now = int(time.time() * 1000)
        client.log_batch(number, metrics=[Metric(key, value, now, step) for key, value in figures.items()])

    return Client(max((m.step for m in sent), default=-1), send, lambda: client.set_terminated(number))


CLIENTS: Mapping[str, Callable[[str, Config], Client]] = {
    "tensorboard": tensorboard,
    "trackio": trackio,
    "wandb": wandb,
    "mlflow": mlflow,
}


def by_step(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[int, Figures]]:
    """Join the rows of a step, so that a step is sent at once."""
    step, figures = -1, Figures()
    for row in rows:
        at = row.pop("step")
        if at != step and figures:
            yield step, figures
            figures = {}
        step = at
        figures |= row
    if figures:
        yield step, figures


def main() -> None:
    """Serve standard input to its end."""
    lines = map(json.loads, sys.stdin)
    head = next(lines)
    sys.argv = [HOST]
    socket.gethostname = lambda: HOST
    client = CLIENTS[head["name"]](head["run"], head["params"])
    for step, figures in by_step(lines):
        if step > client.last:
            client.send(step, figures)
    client.close()


if __name__ == "__main__":
    main()
