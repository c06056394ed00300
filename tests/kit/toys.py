"""Two small stages of two lines of work each, to test what runs stages. `python toys.py …` runs one in a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from tuneline.errors import UserError
from tuneline.stage import (
    AnyStage,
    Context,
    Cost,
    Inputs,
    Json,
    Metrics,
    Outputs,
    Params,
    Stage,
    file_name,
    folder_name,
    given,
    output_of,
    pace,
    without,
)
from tuneline.store.base import Entry, FileRecord, Store


class Shape(Params):
    """A nested parameter."""

    width: int = Field(default=1, ge=1)


class CounterParams(Params):
    """Parameters of the counter."""

    unit: str = "letters"
    """What is counted."""
    shape: Shape = Shape()
    """How it is counted."""
    pause: float = pace(0.0, ge=0)
    """Seconds between two words."""


class CounterInputs(Inputs):
    """Inputs of the counter."""

    words: Path = given()
    """Words, one per line."""
    table: Path | None = given("*.txt", optional=True)
    """A folder of tables."""


class CounterOutputs(Outputs):
    """Outputs of the counter."""

    counts: Path = file_name("counts.txt")
    """A count per word."""
    pages: Path = folder_name("pages")
    """A file per word."""


def count(params: CounterParams, inputs: CounterInputs, outputs: CounterOutputs, context: Context) -> Metrics:
    """Count the letters of each word; every count is kept in a journal and every second one as a checkpoint."""
    words = inputs.words.read_text().split()
    if "wrong" in words:
        raise UserError(f"words:{words.index('wrong') + 1}: a wrong word")
    journal, fresh = context.journal("counts", params.unit), 0
    for n, word in enumerate(words):
        context.progress(n, len(words))
        if word == "late-wrong":
            raise UserError(f"words:{n + 1}: found late")
        if word == "bug":
            raise RuntimeError(f"canary {word}")
        if journal.get(word) is None:
            time.sleep(params.pause)
            journal.put(word, {"count": len(word) * params.shape.width})
            fresh += 1
        if n % 2:
            part = context.state / f"step-{n}.part"
            part.mkdir(exist_ok=True)
            (part / "seen").write_text(word)
            if not (context.state / f"step-{n}").exists():
                part.rename(context.state / f"step-{n}")
    rows = {word: journal.get(word) for word in words}
    outputs.counts.write_text("".join(f"{word} {row['count']}\n" for word, row in rows.items() if row))
    for word in words:
        (outputs.pages / f"{word}.txt").write_text(word)
    counts: dict[str, Json] = {"fresh": fresh, "restored": len(list(context.state.iterdir()))}
    cost = Cost(total_usd=0.25 * len(words), now_usd=0.25 * fresh)
    return Metrics(headline=f"{len(words)} words", counts=counts, cost=cost)


class SumInputs(Inputs):
    """Inputs of the adder."""

    counts: Path = output_of("counter")
    """Counts."""
    short: Path | None = output_of("counter@short", "counts")
    """Counts of the variant."""
    pages: Path | None = output_of("counter", optional=True)
    """Pages, for looks."""


class SumOutputs(Outputs):
    """Outputs of the adder."""

    total: Path = file_name("total.txt")
    """The sum."""


class SumParams(Params):
    """Parameters of the adder."""

    start: int = 0
    """Where to start."""


def add(params: SumParams, inputs: SumInputs, outputs: SumOutputs, context: Context) -> Metrics:
    """Add up the counts."""
    total = params.start + sum(int(line.split()[1]) for line in inputs.counts.read_text().splitlines())
    context.progress(1, 1)
    outputs.total.write_text(f"{total} {len(list(inputs.pages.iterdir())) if inputs.pages else '-'}\n")
    return Metrics(headline=f"total {total}", counts={"total": total})


COUNTER = Stage("counter", 1, CounterParams, CounterInputs, CounterOutputs, count, variants={"short": without("table")})
ADDER = Stage("adder", 1, SumParams, SumInputs, SumOutputs, add)
STAGES: dict[str, AnyStage] = {"adder": ADDER, "counter": COUNTER}


class DeadlyStore:
    """A store that kills its process at the n-th operation: before it when n is even, after it when n is odd."""

    def __init__(self, store: Store, at: int) -> None:
        self._store, self._left = store, at
        self.uri = store.uri

    def _around(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        before, after = self._left == 0, self._left == 1
        self._left -= 2
        if before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*args, **kwargs)
        if after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def get(self, key: str, most: int | None = None) -> bytes | None:
        result: bytes | None = self._around(self._store.get, key, most)
        return result

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        return bool(self._around(self._store.put, key, data, if_absent=if_absent))

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._around(lambda: list(self._store.list(prefix)))

    def upload(self, path: Path, key: str) -> FileRecord:
        record: FileRecord = self._around(self._store.upload, path, key)
        return record

    def download(self, record: FileRecord, dest: Path) -> None:
        self._around(self._store.download, record, dest)

    def delete(self, keys: Iterable[str]) -> None:
        self._around(self._store.delete, keys)

    def local(self, record: FileRecord) -> Path | None:
        return self._store.local(record)

    def sweep(self, older_than: float) -> int:
        return self._store.sweep(older_than)


def main(file: str, uri: str, scratch: str, at: int, environ: Mapping[str, str] | None = None) -> None:
    """Run the counter of a run file; die at the `at`-th store operation (never, if negative)."""
    os.environ.update(environ or {})
    from tuneline.engine.runfile import read_run_file
    from tuneline.engine.runner import new_job, run_job
    from tuneline.store.base import open_store

    run_file = read_run_file(Path(file), STAGES)
    store: Store = open_store(uri)
    if at >= 0:
        store = DeadlyStore(store, at)
    with new_job(run_file, run_file.step("counter"), store, Path(scratch)) as job:
        print(run_job(job).manifest.fingerprint)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
