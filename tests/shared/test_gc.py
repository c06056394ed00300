from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from support import alone
from toys import COUNTER
from tuneline.gc import collect
from tuneline.runfile import Node
from tuneline.runner import new_job, run_job
from tuneline.store import Store, local_path, open_store


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
