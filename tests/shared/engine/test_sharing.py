"""Shards, which are results of their own, and parts, which only fill journals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.sharing import STAGES
from tuneline.commands.removal.gc import collect
from tuneline.commands.show import fetch_output, results_of, run_lines
from tuneline.engine.pipelines import Step
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.engine.runner import Outcome, do_part, new_job, run_job
from tuneline.errors import Temporary, UserError
from tuneline.stage import Part
from tuneline.store.base import Store, local_path, open_store

SHARDS = [f"taster/{number}-of-3" for number in (1, 2, 3)]


class Kitchen:
    """A folder with dishes, or the same in a bucket, and runs over them."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.store, self.given = folder, open_store(f"{uri}/store"), open_store(f"{uri}/dishes")
        for n in range(20):
            self.cook(f"dish-{n:02}")

    def cook(self, name: str, text: str = "good") -> None:
        self.given.put(f"{name}.txt", text.encode())

    def read(self, run: str = "r", **taster: Any) -> RunFile:
        file = self.folder / "run.yaml"
        inputs = {"dishes": self.given.uri}
        file.write_text(
            yaml.safe_dump({"run": run, "goal": "menu", "inputs": inputs, "taster": {"shards": 3} | taster})
        )
        return read_run_file(file, STAGES)

    def make(self, run_file: RunFile, step: Step) -> Outcome:
        with new_job(run_file, step, self.store, self.folder / "scratch") as job:
            return run_job(job)

    def all(self, run: str = "r") -> list[Outcome]:
        run_file = self.read(run)
        return [self.make(run_file, step) for step in run_file.steps]


@pytest.fixture
def kitchen(tmp_path: Path, uri: str) -> Kitchen:
    return Kitchen(tmp_path, uri if uri.startswith("s3") else str(tmp_path / "place"))


def text_of(store: Store, outcome: Outcome, port: str, folder: Path) -> str:
    (record,) = outcome.manifest.outputs[port].files.values()
    store.download(record, folder / record.sha256)
    return (folder / record.sha256).read_text()


def test_shards_are_made_one_by_one_a_lost_one_is_made_again_alone_and_all_are_merged(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    run_file = kitchen.read(fails="dish-07")
    assert [step.name for step in run_file.steps] == [*SHARDS, "menu"]
    assert run_file.step("menu").needs == tuple(SHARDS)
    lost = [step.name for step in run_file.steps[:3] if step.shard and step.shard.has("dish-07.txt")]
    for step in run_file.steps[:3]:
        if step.name in lost:
            with pytest.raises(UserError, match=r"dish-07\.txt: cannot be eaten"):
                kitchen.make(run_file, step)
        else:
            assert not kitchen.make(run_file, step).reused
    with pytest.raises(UserError, match=f"menu reads `notes` of {lost[0]}, which has no result in run r yet"):
        kitchen.make(run_file, run_file.step("menu"))
    assert [line for line in run_lines(kitchen.store, "r") if "failed" in line and line.startswith(lost[0])]
    outcomes = kitchen.all()
    assert [step for step, outcome in zip(SHARDS, outcomes, strict=False) if not outcome.reused] == lost
    assert text_of(kitchen.store, outcomes[-1], "menu", tmp_path) == "".join(f"dish-{n:02}: good\n" for n in range(20))
    assert list(results_of(kitchen.store, "r")) and set(results_of(kitchen.store, "r")) == {*SHARDS, "menu"}
    assert not [line for line in run_lines(kitchen.store, "r") if "failed" in line]
    fetched = fetch_output(kitchen.store, "r", f"{SHARDS[0]}/notes", tmp_path / "dest")
    assert fetched.read_text() == text_of(kitchen.store, outcomes[0], "notes", tmp_path)


def test_a_new_item_changes_one_shard_and_nothing_is_read_twice(kitchen: Kitchen) -> None:
    kitchen.all()
    kitchen.cook("dish-20")
    outcomes = kitchen.all("next")
    assert [outcome.reused for outcome in outcomes[:3]].count(False) == 1
    assert not outcomes[3].reused
    assert all(outcome.reused for outcome in kitchen.all("next"))


def test_every_item_is_in_one_shard_and_in_one_part() -> None:
    parts = [Part(number, 7) for number in range(1, 8)]
    assert {sum(part.has(f"item-{n}") for part in parts) for n in range(1000)} == {1}
    assert [place for part in parts for place in part.share(50)] == list(range(50))


def test_gc_keeps_the_shards_of_a_run_and_collects_them_when_it_is_gone(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path, str(tmp_path / "place"))
    kitchen.all()
    for path in local_path(kitchen.store.uri).rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (0, 0))
    assert collect(kitchen.store, 7).results == 0
    assert all(outcome.reused for outcome in kitchen.all())
    kitchen.store.delete([entry.key for entry in kitchen.store.list("runs/")])
    assert collect(kitchen.store, 7).results == 4


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "run.yaml").write_text("run: r\ngoal: menu\ninputs: {dishes: one.txt}\n")
    run_file = read_run_file(tmp_path / "run.yaml", STAGES)
    store = open_store(str(tmp_path / "store"))
    with (
        new_job(run_file, run_file.steps[0], store) as job,
        pytest.raises(UserError, match=r"run\.yaml:3: inputs\.dishes: .* it must be a folder with a file per item"),
    ):
        run_job(job)


class Desk:
    """Runs of the writer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, open_store(str(folder / "store"))

    def write(self, part: Part | None, **params: Any) -> str | Outcome:
        content = {"run": "r", "goal": "writer", "inputs": {"topic": ["hats"]}, "writer": params}
        (self.folder / "run.yaml").write_text(yaml.safe_dump(content))
        run_file = read_run_file(self.folder / "run.yaml", STAGES)
        with new_job(run_file, run_file.step("writer"), self.store, part=part) as job:
            return do_part(job) if part else run_job(job)


@pytest.mark.parametrize("of", [1, 3, 10])
def test_parts_fill_the_journal_and_the_stage_is_the_merge(of: int, tmp_path: Path) -> None:
    desk, alone = Desk(tmp_path), Desk(tmp_path / "alone")
    alone.folder.mkdir()
    for number in range(1, of + 1):
        said = desk.write(Part(number, of))
        assert str(said).startswith(f"writer, part {number}-of-{of}: ")
    assert not list(desk.store.list("results/")) and not list(desk.store.list("runs/r/writer"))
    whole, other = desk.write(None), alone.write(None)
    assert isinstance(whole, Outcome) and isinstance(other, Outcome)
    assert whole.manifest.metrics.counts == {"paid": 0} and other.manifest.metrics.counts == {"paid": 150}
    assert whole.manifest.outputs["rows"].sha256 == other.manifest.outputs["rows"].sha256
    assert desk.write(Part(1, of)) == f"writer {whole.manifest.fingerprint[:12]} found"


def test_a_part_that_gives_up_is_all_that_is_done_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(Part(1, 3))
    with pytest.raises(Temporary, match="gave up"):
        desk.write(Part(2, 3), stop_after=20)
    desk.write(Part(2, 3))
    whole = desk.write(None)
    assert isinstance(whole, Outcome)
    assert whole.manifest.metrics.counts == {"paid": 50}  # what part 3 would have done
    assert sum((desk.store.get(e.key) or b"").count(b"\n") for e in desk.store.list("journals/")) == 150
