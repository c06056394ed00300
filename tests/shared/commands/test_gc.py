from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kit.support import alone
from kit.toys import COUNTER, STAGES
from kit.uploads import upload
from kit.workflow_parameters import as_parameters
from tuneline.commands.gc import collect
from tuneline.engine.runfile import Node, read_run_parameters
from tuneline.engine.runner import new_job, run_job
from tuneline.store.base import Store, local_path, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def make(store: Store, folder: Path, run: str, *words: str) -> str:
    (folder / f"{run}.txt").write_text("\n".join(words))
    run_file = alone(COUNTER, folder, {"words": folder / f"{run}.txt"}, {}, run)
    with new_job(run_file, Node("counter", COUNTER, None, ()), store) as job:
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
    run_file = read_run_parameters(as_parameters(upload(file, store).printed), STAGES)
    with new_job(run_file, run_file.node("counter@short"), store) as job:  # it reads the words and no table
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
