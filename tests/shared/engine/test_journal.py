from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kit.s3_proxy import Proxy
from kit.toys import DeadlyStore
from tuneline.engine import journal as journals
from tuneline.engine.journal import SMALL, StoreJournal
from tuneline.errors import Temporary
from tuneline.store.base import Entry, Store, open_store
from tuneline.store.file import FileStore

PREFIX = "journals/s/x"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_a_journal_keeps_rows_across_attempts(store: Store) -> None:
    first = StoreJournal(store, "journals/s/x", "a")
    first.put("k", {"n": 1, "text": "ü\u2028"})
    first.flush()
    first.put("l", {"n": 2})
    first.flush()
    second = StoreJournal(store, "journals/s/x", "b")
    assert second.get("k") == {"n": 1, "text": "ü\u2028"}
    assert second.get("l") == {"n": 2}
    assert second.get("m") is None


def test_a_journal_takes_rows_from_many_threads(store: Store) -> None:
    journal = StoreJournal(store, "journals/s/x", "a")
    threads = [threading.Thread(target=journal.put, args=(str(n), {"n": n})) for n in range(50)]
    for thread in threads:
        thread.start()
        journal.flush()
    for thread in threads:
        thread.join()
    journal.flush()
    again = StoreJournal(store, "journals/s/x", "b")
    assert [again.get(str(n)) for n in range(50)] == [{"n": n} for n in range(50)]


def segments(store: Store) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in store.list(f"{PREFIX}/")]


def fill(store: Store, count: int, attempt: str = "a") -> None:
    """Write a journal of `count` segments with a row each."""
    for n in range(count):
        line = json.dumps({"key": f"{attempt}{n}", "row": {"n": n}})
        store.put(f"{PREFIX}/{attempt}-{n}.jsonl", f"{line}\n".encode())


def rows(journal: StoreJournal, count: int) -> list[int | None]:
    return [row["n"] if row else None for row in (journal.get(f"a{n}") for n in range(count))]


FOREIGN = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "notes.txt": b"notes",
    "a-1.jsonl.bak": b"{}",
    "x/a-1.jsonl": b"{}",
    "\x1b[31mred-1.jsonl": b"{}",
}
DAMAGED = {
    "torn": b'{"key": "new", "row": {"n": 1}}\n{"key": "b", "ro',
    "binary": b'{"key": "new", "row": {"n": 1}}\n\xff\xfe\0\0',
    "another shape": b'{"key": "new", "row": {"n": 1}}\n{"key": 1, "row": {}}\n[]\n{"key": "b", "row": 1}\n',
    "deep": b'{"key": "new", "row": {"n": 1}}\n' + b"[" * 200_000 + b"\n",
    "torn before the end": b'{"key": "b", "ro{"key": "c", "row": {}}\n{"key": "new", "row": {"n": 1}}\n',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_in_a_journal_is_named_and_passed_over(store: Store, tmp_path: Path, name: str) -> None:
    fill(store, 3)
    place = tmp_path / "store" / PREFIX / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(FOREIGN[name])
    for attempt in "bc":
        with capture_logs() as logs:
            assert rows(StoreJournal(store, PREFIX, attempt), 3) == [0, 1, 2]
        assert len(logs) == 1
        assert repr(name)[1:-1].replace("\\", "") in str(logs[0]).replace("\\", "")
        assert "\x1b" not in str(logs[0])
    assert place.read_bytes() == FOREIGN[name]


@pytest.mark.parametrize("damage", DAMAGED)
def test_the_good_lines_of_a_damaged_segment_count_and_it_stays(store: Store, damage: str) -> None:
    fill(store, SMALL + 1)
    store.put(f"{PREFIX}/a-9999.jsonl", DAMAGED[damage])
    for attempt in "bc":
        with capture_logs() as logs:
            journal = StoreJournal(store, PREFIX, attempt)
        assert rows(journal, SMALL + 1) == [*range(SMALL + 1)]
        assert journal.get("new") == {"n": 1}
        assert journal.get("b") is None
        assert len(logs) == 1
        assert logs[0]["file"].endswith("a-9999.jsonl") and "row" not in str(logs[0])
    assert segments(store) == ["a-9999.jsonl", "b-0.jsonl"]
    assert store.get(f"{PREFIX}/a-9999.jsonl") == DAMAGED[damage]


def test_many_segments_become_few_when_a_journal_is_opened(s3: str, network: Proxy) -> None:
    store = open_store(s3)
    fill(store, 300)
    network.seen.clear()
    assert rows(StoreJournal(store, PREFIX, "b"), 300) == [*range(300)]
    assert segments(store) == ["b-0.jsonl"]
    network.seen.clear()
    again = StoreJournal(store, PREFIX, "c")
    assert len(network.seen) == 2
    assert rows(again, 300) == [*range(300)]


def test_a_few_segments_and_large_ones_stay_as_they_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, SMALL)
    StoreJournal(store, PREFIX, "b")
    assert len(segments(store)) == SMALL
    monkeypatch.setattr(journals, "PIECE", 100)
    fill(store, 60)
    assert rows(StoreJournal(store, PREFIX, "b"), 60) == [*range(60)]
    merged = segments(store)
    assert len(merged) == 15
    assert rows(StoreJournal(store, PREFIX, "c"), 60) == [*range(60)]
    assert segments(store) == merged


def test_who_ends_well_leaves_few_segments_with_its_own_rows_and_all_others_as_they_are(store: Store) -> None:
    fill(store, 3, "other")
    mine = StoreJournal(store, PREFIX, "mine")
    for n in range(SMALL + 4):
        mine.put(f"mine-{n}", {"n": n})
        mine.flush()
    before = segments(store)
    mine.compact()
    after = segments(store)
    assert len(before) == SMALL + 7 and len(after) == 4
    assert [name for name in after if name.startswith("other-")] == [
        name for name in before if name.startswith("other-")
    ]
    again = StoreJournal(store, PREFIX, "again")
    assert [again.get(f"mine-{n}") for n in range(SMALL + 4)] == [{"n": n} for n in range(SMALL + 4)]
    mine.put("later", {"n": 1})
    mine.compact()
    assert len(segments(store)) == 5, "few segments stay as they are"


def test_of_rows_with_one_key_the_same_one_counts_after_merging(store: Store) -> None:
    for n in range(2 * SMALL):
        store.put(f"{PREFIX}/a{n:02}-0.jsonl", b'{"key": "k", "row": {"n": %d}}\n' % n)
    for attempt in ("b", "c"):
        assert StoreJournal(store, PREFIX, attempt).get("k") == {"n": 2 * SMALL - 1}
    assert len(segments(store)) == 1


class Meanwhile(FileStore):
    """A store in which somebody else does something just before the n-th reading of a file."""

    def __init__(self, root: Path, at: int, action: str) -> None:
        super().__init__(root)
        self._left, self._action, self._reading = at, action, threading.Lock()

    def get(self, key: str, most: int | None = None) -> bytes | None:
        with self._reading:
            self._left -= 1
            if self._left == 0:
                other = FileStore(self.root)
                if self._action == "merges":
                    StoreJournal(other, PREFIX, "other")
                else:
                    other.put(f"{PREFIX}/late-0.jsonl", b'{"key": "late", "row": {"n": 1}}\n')
        return super().get(key, most)


@pytest.mark.parametrize("at", [1, 2, 17, 40])
def test_who_reads_while_somebody_merges_misses_nothing(tmp_path: Path, at: int) -> None:
    store = FileStore(tmp_path)
    fill(store, 40)
    assert rows(StoreJournal(Meanwhile(tmp_path, at, "merges"), PREFIX, "b"), 40) == [*range(40)]
    assert rows(StoreJournal(store, PREFIX, "c"), 40) == [*range(40)]


@pytest.mark.parametrize("at", [1, 40])
def test_rows_that_somebody_writes_while_a_journal_is_merged_stay(tmp_path: Path, at: int) -> None:
    store = FileStore(tmp_path)
    fill(store, 40)
    StoreJournal(Meanwhile(tmp_path, at, "writes"), PREFIX, "b")
    again = StoreJournal(store, PREFIX, "c")
    assert rows(again, 40) == [*range(40)]
    assert again.get("late") == {"n": 1}


def test_many_who_open_a_journal_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    fill(store, 200)
    found: dict[int, list[int | None]] = {}

    def open_and_write(n: int) -> None:
        journal = StoreJournal(FileStore(tmp_path), PREFIX, f"w{n}")
        found[n] = rows(journal, 200)
        journal.put(f"w{n}0", {"n": 0})
        journal.flush()

    threads = [threading.Thread(target=open_and_write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [*range(200)] for n in range(8)}
    again = StoreJournal(store, PREFIX, "z")
    assert rows(again, 200) == [*range(200)]
    assert [again.get(f"w{n}0") for n in range(8)] == [{"n": 0}] * 8


def die(root: Path, at: int) -> None:
    StoreJournal(DeadlyStore(FileStore(root), at), PREFIX, "b")


def test_a_kill_at_any_moment_of_merging_loses_nothing(tmp_path: Path) -> None:
    killed = 0
    for at in range(2 * (30 + 6)):
        store = FileStore(tmp_path / str(at))
        fill(store, 30)
        process = multiprocessing.get_context("fork").Process(target=die, args=(tmp_path / str(at), at))
        process.start()
        process.join()
        killed += process.exitcode == -9
        assert rows(StoreJournal(store, PREFIX, "c"), 30) == [*range(30)]
    assert killed > 10


def test_the_mark_of_a_killed_process_stops_merging_for_an_hour_only(store: Store, tmp_path: Path) -> None:
    fill(store, 40)
    store.put(f"{PREFIX}/merging.jsonl", b"")
    assert rows(StoreJournal(store, PREFIX, "b"), 40) == [*range(40)]
    assert len(segments(store)) == 41
    os.utime(tmp_path / "store" / PREFIX / "merging.jsonl", (0, 0))
    StoreJournal(store, PREFIX, "c")
    assert segments(store) == ["c-0.jsonl"]


class Forgetful(FileStore):
    """A store whose first answer to a write is lost for good, though it was done."""

    lost = False

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        done = super().put(key, data, if_absent=if_absent)
        if not self.lost:
            self.lost = True
            raise Temporary("no answer")
        return done


def test_no_name_is_used_twice_so_that_no_row_goes_with_a_merged_segment(tmp_path: Path) -> None:
    journal = StoreJournal(Forgetful(tmp_path), PREFIX, "a")
    journal.put("k", {"n": 1})
    with pytest.raises(Temporary):
        journal.flush()
    journal.put("l", {"n": 2})
    journal.flush()
    assert segments(FileStore(tmp_path)) == ["a-0.jsonl", "a-1.jsonl"]
    assert StoreJournal(FileStore(tmp_path), PREFIX, "b").get("l") == {"n": 2}


class Listing(FileStore):
    """A store that lists what is not there."""

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from super().list(prefix)
        yield Entry(f"{PREFIX}/gone-0.jsonl", 1, 0, "")


def test_a_segment_that_is_listed_and_never_there_stops_nobody(tmp_path: Path) -> None:
    fill(FileStore(tmp_path), 3)
    assert rows(StoreJournal(Listing(tmp_path), PREFIX, "b"), 3) == [0, 1, 2]


OPEN = """
import re, sys
from pathlib import Path
from tuneline.engine.journal import StoreJournal
from tuneline.store.file import FileStore
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
journal = StoreJournal(FileStore(Path(sys.argv[1])), sys.argv[2], "b")
print(peak() - before, sum(journal.get(f"{n:064}") is not None for n in range(100_000)))
"""


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_little_memory(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    text = "ä" * 1_000
    for start in range(0, 100_000, 500):
        lines = [
            json.dumps({"key": f"{n:064}", "row": {"text": text}}, ensure_ascii=False)
            for n in range(start, start + 500)
        ]
        store.put(f"{PREFIX}/a-{start}.jsonl", "".join(f"{line}\n" for line in lines).encode())
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", OPEN, tmp_path, PREFIX], capture_output=True, text=True, check=True
        )
        grown, found = map(int, done.stdout.split())
        assert found == 100_000
        assert grown < 150_000  # kB
    assert len(segments(store)) < 60
