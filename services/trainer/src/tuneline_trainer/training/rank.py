"""One of the processes of a training on several GPUs: computes its part of each step; the first one saves and tells."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tuneline.errors import Temporary, UserError, frames_of
from tuneline_trainer.model.memory import peak_bytes
from tuneline_trainer.training.crew import Entry, Failed, Finished, Step, Work
from tuneline_trainer.training.guard import Told
from tuneline_trainer.training.peers import Peers
from tuneline_trainer.training.sft import train


class Line:
    """The line to the process that has started us."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def progress(self, done: int, total: int) -> None:
        """Say it. Raises Temporary when the answer is to stop."""
        self._connection.send(Step(done, total))
        if self._connection.recv():
            raise Temporary("told to stop")

    def add(self, entry: Mapping[str, float]) -> None:
        """Say it."""
        self._connection.send(Entry(dict(entry)))


def main() -> None:
    """Work, and say how it ended."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    connection, plan = Connection(int(sys.argv[1])), Path(sys.argv[4])
    peers = Peers(int(sys.argv[2]), int(sys.argv[3]))
    line = Line(connection)
    told = Told(line.progress, line.add) if peers.first else Told(lambda *_: None, lambda _: None)
    try:
        work: Work = pickle.loads(plan.read_bytes())
        connection.send(Finished(_worked(work, told, peers)))
    except UserError as refusal:
        connection.send(Failed(str(refusal), "UserError", ()))
    except Exception as error:  # noqa: BLE001  (said by its type and place: its words may quote a transcript)
        connection.send(Failed(None, type(error).__name__, frames_of(error)))
        sys.exit(1)
    with suppress(EOFError):
        connection.recv()  # nobody leaves while others may still hear from it


def _worked(work: Work, told: Told, peers: Peers) -> int:
    try:
        return train(work, told, peers)
    except Temporary:
        return peak_bytes()


if __name__ == "__main__":
    main()
