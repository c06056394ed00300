"""Records of other versions: older ones are read as today's, newer ones are named as such.

`store_of_form_1` was written by the first form of the records.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit.places import ROOT
from kit.toys import STAGES
from tuneline.commands.show import fetch_output, run_lines
from tuneline.commands.tuneline import app
from tuneline.engine.records import Failure, InputPin, Manifest, Pin, parse, pinned_manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.stage import Cost
from tuneline.store.base import open_store

OLD = ROOT / "tests" / "shared" / "engine" / "store_of_form_1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return shutil.copytree(OLD, tmp_path / "store")


def test_a_store_of_the_first_form_is_shown_and_fetched_and_its_results_are_found(old: Path, tmp_path: Path) -> None:
    store = open_store(str(old))
    lines = list(run_lines(store, "r"))
    assert "  2 words" in lines and any("$0.50, $0.25 of it in the last attempt" in line for line in lines)
    assert [line.split(": ")[-1] for line in run_lines(store, "s")] == ["found late"]
    assert fetch_output(store, "r", "counter/counts", tmp_path).read_text() == "one 3\ntwo 3\n"
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    (tmp_path / "run.yaml").write_text("run: next\ninputs: {words: words.txt}\n")
    run_file = read_run_file(tmp_path / "run.yaml", STAGES)
    with new_job(run_file, run_file.step("counter"), store) as job:
        assert run_job(job).reused


def test_a_record_that_would_fill_the_memory_is_refused_and_named(old: Path) -> None:
    os.truncate(old / "runs" / "r" / "counter.json", 1 << 40)  # a hole, which takes no space
    with pytest.raises(UserError, match=r"runs/r/counter\.json: has more than 268,435,456 bytes"):
        pinned_manifest(open_store(str(old)), "r", "counter")


def test_what_the_first_form_said_in_free_metrics_has_its_place_now(old: Path) -> None:
    manifest = pinned_manifest(open_store(str(old)), "r", "counter")
    assert manifest is not None
    assert manifest.metrics.headline == "2 words"
    assert manifest.metrics.cost == Cost(total_usd=0.5, now_usd=0.25)
    assert manifest.metrics.counts == {"fresh": 2, "restored": 1}
    assert manifest.seconds > 0
    page = json.loads((old / "results/adder").glob("*/manifest.json").__next__().read_text())
    page["outputs"]["total"]["path"] = "total.html"
    page["outputs"]["total"]["files"]["total.txt"]["key"] = "results/adder/f/attempt/total.html"
    assert parse(Manifest, json.dumps(page).encode(), "k").outputs["total"].kind == "page"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("results/counter/*/manifest.json", ["show", "r"]),
        ("results/counter/*/manifest.json", ["get", "r", "counter/counts"]),
        ("runs/r/counter.json", ["show", "r"]),
        ("runs/s/failed/*.json", ["show", "s"]),
    ],
)
def test_a_record_of_a_newer_version_exits_2_and_says_so(place: str, words: list[str], old: Path) -> None:
    path = next(old.glob(place))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"record": 99, "more": [1]}))
    done = CliRunner().invoke(app, [*words, "--store", str(old)])
    assert done.exit_code == 2, done.output
    assert f"{path.relative_to(old)}: made by a newer Tuneline" in done.output


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"record": "x"}', b'{"record": 0}', b"[" * 100_000, b"{}"])
def test_what_is_no_record_is_named(data: bytes) -> None:
    for model in (Manifest, Pin, InputPin, Failure):
        with pytest.raises(UserError, match=r"runs/r/x\.json: not a record that Tuneline wrote"):
            parse(model, data, "runs/r/x.json")


def test_a_foreign_name_in_what_is_no_record_is_shown_safely() -> None:
    data = json.dumps({"record": 1, "\ufeff\x1b[2J\nlevel=error": 1}).encode()
    with pytest.raises(UserError, match="not a record") as refused:
        parse(Pin, data, "runs/r/x.json")
    assert str(refused.value).isprintable()


UNSAFE = [
    "../x",
    "/etc/x",
    "a/../../x",
    "C:/x",
    "C:x",
    "a\\x",
    "NUL",
    "deep/con.txt",
    "x.",
    "x ",
    "a\0b",
    "a\x1b[2Jb",
    "",
]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("place", ["path", "file"])
def test_a_name_that_leads_out_of_its_folder_is_refused_wherever_it_is_read(
    place: str, name: str, old: Path, tmp_path: Path
) -> None:
    path = next(old.glob("results/counter/*/manifest.json"))
    manifest = json.loads(path.read_text())
    port = manifest["outputs"]["pages" if place == "file" else "counts"]
    if place == "file":
        port["files"] = {name: next(iter(port["files"].values()))}
    else:
        port["path"] = name
    path.write_text(json.dumps(manifest))
    home = tmp_path / "home"
    home.mkdir()
    before = {*tmp_path.rglob("*")}
    store = open_store(str(old))
    with pytest.raises(UserError, match="not a record that Tuneline wrote"):
        fetch_output(store, "r", f"counter/{'pages' if place == 'file' else 'counts'}", home / "dest")
    (home / "run.yaml").write_text("run: r\ngoal: adder\ninputs: {words: [one]}\n")
    run_file = read_run_file(home / "run.yaml", STAGES)
    with new_job(run_file, run_file.step("adder"), store) as job, pytest.raises(UserError, match="not a record"):
        run_job(job)
    assert {*tmp_path.rglob("*")} - before == {home / "run.yaml"}


def test_a_key_that_is_not_that_of_its_file_is_refused(old: Path, tmp_path: Path) -> None:
    """Else the folder of a port, which is found from a file's key, could be any folder above it."""
    path = next(old.glob("results/counter/*/manifest.json"))
    manifest = json.loads(path.read_text())
    for record in manifest["outputs"]["pages"]["files"].values():
        record["key"] = "runs/r/counter.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="not a record that Tuneline wrote"):
        fetch_output(open_store(str(old)), "r", "counter/pages", tmp_path / "dest")


def test_a_failure_without_places_is_shown_and_no_record_speaks_to_the_terminal(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    failure = Failure(
        stage="counter", attempt="a", exit_code=1, type="Odd", message=None, frames=[], failed_at="\x1b[2J\nlevel=error"
    )  # fmt: skip
    store.put("runs/r/failed/counter-a.json", failure.to_bytes())
    assert list(run_lines(store, "r")) == ["counter  failed \\x1b[2J", "level=error: Odd"]


@pytest.mark.parametrize("change", [{"fingerprint": "\x1b[2J"}, {"stage": "../x"}, {"metrics": "ab", "record": 1}])
def test_a_manifest_that_cannot_be_one_is_named(old: Path, change: dict[str, str]) -> None:
    [path, *_] = (old / "results" / "counter").glob("*/manifest.json")
    changed = json.dumps(json.loads(path.read_bytes()) | change).encode()
    with pytest.raises(UserError, match=r"^m: not a record that Tuneline wrote"):
        parse(Manifest, changed, "m")
