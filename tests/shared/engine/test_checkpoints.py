from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tuneline.engine.checkpoints import State
from tuneline.errors import Temporary, UserError
from tuneline.store.base import FileRecord, Store, local_path, open_store
from tuneline.store.file import FileStore

PREFIX = "results/s/f/state"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_a_whole_checkpoint_reaches_the_next_attempt_and_a_part_does_not(store: Store, tmp_path: Path) -> None:
    first = State(store, "results/s/f/state", "a", tmp_path / "a")
    first.restore()
    (tmp_path / "a" / "step-1" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "step-1" / "deep" / "w").write_text("weights")
    (tmp_path / "a" / "note.txt").write_text("note")
    (tmp_path / "a" / "step-2.part").mkdir()
    first.sync()
    second = State(store, "results/s/f/state", "b", tmp_path / "b")
    second.restore()
    assert sorted(p.relative_to(tmp_path / "b").as_posix() for p in (tmp_path / "b").rglob("*") if p.is_file()) == [
        "note.txt",
        "step-1/deep/w",
    ]


class Unreachable(FileStore):
    """A store from which the second file cannot be fetched."""

    fetched = 0

    def download(self, record: FileRecord, dest: Path) -> None:
        self.fetched += 1
        if self.fetched > 1:
            raise Temporary("the store does not answer")
        super().download(record, dest)


def test_what_was_fetched_in_part_takes_no_whole_checkpoints_place(store: Store, tmp_path: Path) -> None:
    first = State(store, PREFIX, "a", tmp_path / "a")
    first.restore()
    for name in ("step-1/weights", "step-1/optimizer", "step-2/weights"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text(name)
    first.sync()
    before = store.get(f"{PREFIX}/index.json")
    second = State(Unreachable(local_path(store.uri)), PREFIX, "b", tmp_path / "b")
    with pytest.raises(Temporary):
        second.restore()
    second.sync()  # as at the end of every stage that has begun
    assert store.get(f"{PREFIX}/index.json") == before
    third = State(store, PREFIX, "c", tmp_path / "c")
    third.restore()
    assert (tmp_path / "c" / "step-1" / "optimizer").exists() and (tmp_path / "c" / "step-2" / "weights").exists()


def test_a_checkpoint_that_the_stage_dropped_is_dropped_in_the_store(store: Store, tmp_path: Path) -> None:
    state = State(store, "results/s/f/state", "a", tmp_path / "a")
    state.restore()
    (tmp_path / "a" / "one").write_text("1")
    state.sync()
    (tmp_path / "a" / "one").unlink()
    (tmp_path / "a" / "two").write_text("2")
    state.sync()
    assert [e.key for e in store.list("results/s/f/state/a")] == ["results/s/f/state/a/two"]
    state.discard()
    assert list(store.list("")) == []


@pytest.fixture
def two_checkpoints(store: Store, tmp_path: Path) -> None:
    """Leave step-10 and step-20 in the store."""
    state = State(store, PREFIX, "a", tmp_path / "a")
    state.restore()
    for step in (10, 20):
        (tmp_path / "a" / f"step-{step}").mkdir()
        for name in ("weights", "optimizer"):
            (tmp_path / "a" / f"step-{step}" / name).write_text(f"{name} {step}")
    state.sync()


def restored(store: Store, folder: Path) -> tuple[State, list[str], list[str]]:
    """What the next attempt finds: its checkpoints, and what the log warns of."""
    state = State(store, PREFIX, "b", folder)
    with capture_logs() as logs:
        state.restore()
    return state, sorted(p.name for p in folder.iterdir()), [str(e) for e in logs if e["log_level"] == "warning"]


@pytest.mark.usefixtures("two_checkpoints")
@pytest.mark.parametrize("damage", ["flip", "lose"])
def test_of_two_checkpoints_the_damaged_one_is_left_out_and_the_good_one_counts(
    store: Store, tmp_path: Path, damage: str
) -> None:
    key = f"{PREFIX}/a/step-20/weights"
    if damage == "flip":
        store.put(key, b"weights 21")
    else:
        store.delete([key])
    state, found, warnings = restored(store, tmp_path / "b")
    assert found == ["step-10"]
    assert (tmp_path / "b" / "step-10" / "weights").read_text() == "weights 10"
    assert len(warnings) == 1 and "step-20" in warnings[0] and "weights" in warnings[0]
    (tmp_path / "b" / "step-20").mkdir()
    (tmp_path / "b" / "step-20" / "weights").write_text("made again")
    state.sync()
    _, found, warnings = restored(store, tmp_path / "c")
    assert (found, warnings) == (["step-10", "step-20"], [])
    assert (tmp_path / "c" / "step-20" / "weights").read_text() == "made again"


@pytest.mark.usefixtures("two_checkpoints")
@pytest.mark.parametrize("data", [b"", b"\0\1", b"{}", b'{"entries": {"a": 1}}', b"[" * 100_000])
def test_a_damaged_list_of_checkpoints_is_named_and_work_begins_anew(store: Store, tmp_path: Path, data: bytes) -> None:
    store.put(f"{PREFIX}/index.json", data)
    _, found, warnings = restored(store, tmp_path / "b")
    assert found == []
    assert len(warnings) == 1 and f"{PREFIX}/index.json" in warnings[0]


@pytest.mark.usefixtures("two_checkpoints")
@pytest.mark.parametrize("entry", ["../../escaped", "/etc", "", "..", "\0", "step-10"])
@pytest.mark.parametrize(
    "key", ["victim", f"{PREFIX}/a/../../escaped", f"{PREFIX}/a", "/etc/passwd", f"{PREFIX}/a/x\0"]
)
def test_names_in_the_list_of_checkpoints_lead_nowhere_else(store: Store, tmp_path: Path, entry: str, key: str) -> None:
    store.put("victim", b"x")
    index = json.loads(store.get(f"{PREFIX}/index.json") or b"")
    index["entries"][entry] = [{"key": key, "sha256": "a" * 64, "size": 1}]
    store.put(f"{PREFIX}/index.json", json.dumps(index).encode())
    (tmp_path / "escaped").write_text("mine")
    _, found, warnings = restored(store, tmp_path / "b" / "state")
    assert set(found) <= {"step-10", "step-20"}
    assert len(warnings) == 1
    assert (tmp_path / "escaped").read_text() == "mine"


def test_a_work_folder_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/state: Not a directory\."):
        State(store, PREFIX, "a", tmp_path / "file" / "state").restore()
