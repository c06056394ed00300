from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kit.s3_proxy import Proxy
from kit.support import alone
from kit.toys import COUNTER, STAGES
from kit.uploads import upload
from kit.workflow_parameters import as_parameters
from tuneline.commands.removal.gc import collect
from tuneline.engine.layout import Node
from tuneline.engine.pipelines import Step
from tuneline.engine.records import Pin, read_manifest
from tuneline.engine.runfile import read_run_parameters
from tuneline.engine.runner import new_job, run_job
from tuneline.store.base import Store, local_path, open_store
from tuneline.store.file import FileStore


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def make(store: Store, folder: Path, run: str, *words: str) -> str:
    (folder / f"{run}.txt").write_text("\n".join(words))
    run_file = alone(COUNTER, folder, {"words": folder / f"{run}.txt"}, {}, run)
    with new_job(run_file, Step(Node("counter"), COUNTER), store) as job:
        return run_job(job).manifest.fingerprint


def age(store: Store, days: float) -> None:
    then = time.time() - days * 86_400
    for path in local_path(store.uri).rglob("*"):
        if not path.is_symlink():
            os.utime(path, (then, then))


def results(store: Store) -> set[str]:
    return {e.key.split("/")[2] for e in store.list("results/")}


def test_an_unpinned_result_goes_when_it_is_old_and_a_pinned_one_stays(store: Store, tmp_path: Path) -> None:
    kept, dropped = make(store, tmp_path, "kept", "a"), make(store, tmp_path, "dropped", "b")
    store.delete([e.key for e in store.list("runs/dropped/")])
    assert collect(store, 7).results == 0
    age(store, 8)
    assert collect(store, 7, dry_run=True).results == 1
    assert results(store) == {kept, dropped}
    swept = collect(store, 7)
    assert (swept.results, swept.files) == (1, 3)
    assert results(store) == {kept}
    assert collect(store, 7).files == 0


def test_what_killed_attempts_left_goes_and_the_journals_stay(store: Store, tmp_path: Path) -> None:
    kept = make(store, tmp_path, "kept", "a")
    store.put(f"results/counter/{kept}/lost-attempt/counts.txt", b"x")
    store.put("results/counter/" + "e" * 64 + "/state/index.json", b"{}")
    before = [e.key for e in store.list("journals/")]
    age(store, 8)
    assert collect(store, 7).files == 2
    assert [e.key for e in store.list("journals/")] == before
    assert make(store, tmp_path, "kept", "a") == kept


def test_a_young_unfinished_result_is_left_alone(store: Store) -> None:
    store.put("results/counter/" + "e" * 64 + "/a/counts.txt", b"x")
    assert collect(store, 7).files == 0


def test_the_work_files_of_a_killed_stage_go_and_those_of_a_running_one_stay(store: Store) -> None:
    scratch = local_path(store.uri) / "scratch"
    for name in ("killed", "running"):
        (scratch / name / "state").mkdir(parents=True)
        (scratch / name / "state" / "weights").write_text("x")
    age(store, 8)
    (scratch / "running" / "state" / "weights").write_text("y")
    assert collect(store, 7).files == 1
    assert [path.name for path in scratch.iterdir()] == ["running"]


def names(store: Store) -> list[str]:
    return sorted({e.key.split("/")[1].partition("-")[0] for e in store.list("uploads/")})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "a.txt").write_text("a")
    (tmp_path / "words.txt").write_text("one")
    (tmp_path / "run.yaml").write_text("run: toys\ninputs: {words: words.txt, table: table}\n")
    return tmp_path / "run.yaml"


def test_an_upload_that_a_run_pins_stays_and_one_that_nobody_wants_goes(store: Store, file: Path) -> None:
    run_file = read_run_parameters(as_parameters(upload(file, store).printed), STAGES, data=(local_path(store.uri),))
    with new_job(run_file, run_file.step("counter@short"), store) as job:  # it reads the words and no table
        run_job(job)
    assert collect(store, 7).files == 0
    age(store, 8)
    assert collect(store, 7, dry_run=True).files == 2
    assert names(store) == ["table", "words"]
    assert collect(store, 7).files == 2
    assert names(store) == ["words"]
    store.delete([e.key for e in store.list("runs/")])
    collect(store, 7)
    assert names(store) == []


def test_an_upload_stays_as_long_as_somebody_repeats_it(store: Store, file: Path) -> None:
    upload(file, store)
    age(store, 8)
    upload(file, store)
    assert collect(store, 7).files == 0
    assert names(store) == ["table", "words"]


def test_what_a_killed_upload_left_goes(store: Store, file: Path) -> None:
    upload(file, store)
    store.delete([e.key for e in store.list("uploads/") if e.key.endswith(".json")])
    assert collect(store, 7).files == 0
    age(store, 8)
    assert collect(store, 7).files == 2


def copies(store: Store, folder: Path, count: int) -> None:
    """Make a result, and `count` results like it that no run pins."""
    whole = read_manifest(store, "counter", make(store, folder, "kept", "a"))
    assert whole is not None
    for n in range(count):
        store.put(f"results/counter/{n:064x}/manifest.json", whole.to_bytes())
        store.put(f"results/counter/{n:064x}/attempt/counts.txt", b"x")


def test_each_pin_and_manifest_is_read_once_however_many_results_go(
    s3: str, network: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3)
    copies(store, tmp_path, 40)
    for n in range(20):
        store.put(f"runs/other-{n}/counter.json", Pin(stage="counter", fingerprint="e" * 64).to_bytes())
    network.seen.clear()
    assert collect(store, 0).results == 40
    listings = [request for request in network.seen if "list-type" in request or "?uploads" in request]
    gets = [request for request in network.seen if request.startswith("GET") and request not in listings]
    assert len([g for g in gets if "/runs/" in g]) == 2 * 21  # and once more before the files go
    assert len([g for g in gets if "manifest.json" in g]) == 41
    assert len(gets) == 2 * 21 + 41
    assert len(listings) < 10
    assert len(network.seen) == len(gets) + len(listings) + 2 * 40


class PinnedMeanwhile(FileStore):
    """A store in which a run pins a result while its manifest is being removed."""

    def delete(self, keys: Iterable[str]) -> None:
        gone = [*keys]
        super().delete(gone)
        if f"results/counter/{3:064x}/manifest.json" in gone:
            self.put("runs/late/counter.json", Pin(stage="counter", fingerprint=f"{3:064x}").to_bytes())


def test_a_result_that_is_pinned_while_it_is_removed_comes_back_whole(store: Store, tmp_path: Path) -> None:
    copies(store, tmp_path, 5)
    age(store, 8)
    assert collect(PinnedMeanwhile(local_path(store.uri)), 7).results == 4
    assert f"{3:064x}" in results(store) and len(results(store)) == 2
    assert store.get(f"results/counter/{3:064x}/attempt/counts.txt") == b"x"
    assert read_manifest(store, "counter", f"{3:064x}") is not None


@pytest.mark.parametrize(
    "name",
    [
        "results/.DS_Store", "results/notes/.DS_Store", "results/counter/notes/a.txt", "runs/.DS_Store",
        "runs/kept/.DS_Store", "runs/kept/notes.json", "runs/kept/failed/.DS_Store", "runs/kept/inputs/.DS_Store",
        "results/counter/\x1b[31mred",
    ],
)  # fmt: skip
def test_a_foreign_file_stays_and_stops_nobody(store: Store, tmp_path: Path, name: str) -> None:
    copies(store, tmp_path, 2)
    place = local_path(store.uri) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"\0\1Bud1")
    age(store, 8)
    assert collect(store, 7).results == 2
    assert place.read_bytes() == b"\0\1Bud1"


@pytest.mark.parametrize("data", [b"", b"\0", b"[]", b'{"stage": "counter", "fingerprint": "x", "newer": 1}'])
def test_because_of_a_pin_that_cannot_be_read_every_result_of_its_stage_stays(
    store: Store, tmp_path: Path, data: bytes
) -> None:
    copies(store, tmp_path, 2)
    store.put("runs/damaged/counter@short.json", data)
    age(store, 8)
    with capture_logs() as logs:
        assert collect(store, 7).results == 0
    assert {entry["file"] for entry in logs} == {repr(f"{store.uri}/runs/damaged/counter@short.json")}
    store.delete(["runs/damaged/counter@short.json"])
    assert collect(store, 7).results == 2


def test_of_a_pinned_result_with_a_manifest_of_a_newer_version_everything_stays(store: Store, tmp_path: Path) -> None:
    key = f"results/counter/{make(store, tmp_path, 'kept', 'a')}/"
    store.put(f"{key}manifest.json", b'{"record": 99}')
    store.put(f"{key}other/x", b"")
    age(store, 8)
    assert collect(store, 7).files == 0


def test_because_of_an_input_pin_that_cannot_be_read_every_upload_stays(store: Store, file: Path) -> None:
    upload(file, store)
    store.put("runs/damaged/inputs/words.json", b"{}")
    age(store, 8)
    assert collect(store, 7).files == 0
    store.delete(["runs/damaged/inputs/words.json"])
    assert collect(store, 7).files == 4
