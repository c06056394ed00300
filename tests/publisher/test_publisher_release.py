from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from kit.published_runs import FILE, REPORT
from publisher.conftest import Bench
from tuneline.store.base import open_store

pytestmark = pytest.mark.slow


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_release_in_a_folder_is_whole_and_says_of_every_file_what_it_is(bench: Bench) -> None:
    folder = bench.folder / "out" / "v1"
    done = bench.tuneline("get", "demo", "--release", str(folder))
    assert done.code == 0, done.said
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False)
    assert sums.returncode == 0
    statement = json.loads((folder / "provenance.intoto.json").read_text())
    named = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert set(named) == set(files_of(folder)) - {"SHA256SUMS", "provenance.intoto.json"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    made_of = {one["name"] for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {"trainer/manifest.json", "gguf-converter/manifest.json", "evaluator/manifest.json"} <= made_of
    assert str(bench.folder) not in "".join(map(repr, files_of(folder).values())), "says where it was made"
    assert not (bench.folder / "store" / "runs" / "demo" / "publisher.json").exists(), "a look at a run is pinned"


def test_the_same_release_again_changes_nothing_and_one_that_was_broken_off_goes_on(bench: Bench) -> None:
    folder = bench.folder / "release"
    assert bench.tuneline("get", "demo", "--release", str(folder)).code == 0
    whole, card = files_of(folder), folder / "gguf" / "README.md"
    before = card.stat().st_mtime_ns
    card.with_name("Modelfile").unlink()
    (folder / "SHA256SUMS").unlink()
    edited = next(path for path in sorted(folder.rglob("gguf.json")) if path.is_file())
    edited.write_bytes(edited.read_bytes().replace(b"a", b"b", 1))
    assert bench.tuneline("get", "demo", "--release", str(folder)).code == 0
    assert files_of(folder) == whole and card.stat().st_mtime_ns == before


@pytest.mark.parametrize("there", ["a file", "another release", "a foreign file", "a link", "a file in its place"])
def test_a_folder_with_anything_else_in_it_is_refused_and_left_as_it_is(bench: Bench, there: str) -> None:
    folder = bench.folder / "release"
    if there in ("another release", "a foreign file"):
        assert bench.tuneline("get", "demo", "--release", str(folder)).code == 0
    if there == "another release":
        bench.make(trainer={"seed": 1}, gguf_converter={"seed": 1})
    elif there == "a file in its place":
        folder.write_text("mine")
    else:
        folder.mkdir(exist_ok=True)
        (folder / "gguf").symlink_to(bench.folder) if there == "a link" else (folder / "mine.txt").write_text("mine")
    before = files_of(folder)
    done = bench.tuneline("get", "demo", "--release", str(folder))
    assert done.code == 2 and str(folder) in done.said and "Traceback" not in done.said, done.said
    assert files_of(folder) == before


def test_a_release_may_not_lie_in_the_store_and_needs_an_absolute_folder(bench: Bench) -> None:
    done = bench.tuneline("get", "demo", "--release", str(bench.folder / "store" / "release"))
    assert done.code == 2 and "overlaps with the store" in done.said
    done = bench.publish("releases/v1")
    assert done.code == 2 and "publish.yaml:3: publisher.target" in done.said and "absolute path" in done.said
    done = bench.publish("hf://team/a--b")
    assert done.code == 2 and "hf://organisation/name" in done.said
    done = bench.publish(None)
    assert done.code == 2 and "is missing" in done.said


def test_a_run_without_a_model_says_so(bench: Bench) -> None:
    bench.store = str(bench.folder / "other")
    bench.make("slicer")
    done = bench.tuneline("get", "demo", "--release", str(bench.folder / "release"))
    assert done.code == 2 and "has no model to release" in done.said
    done = bench.publish(str(bench.folder / "release"))
    assert done.code == 2 and "`gguf: false`" in done.said, done.said


def test_a_run_without_a_comparison_is_published_and_its_card_says_so(bench: Bench) -> None:
    bench.store = str(bench.folder / "other")
    bench.make("gguf-converter")
    folder = bench.folder / "release"
    assert bench.publish(str(folder)).code == 0
    assert "Nobody compared them." in (folder / "gguf" / "README.md").read_text()
    assert (
        folder / "gguf" / "Modelfile"
    ).read_text() == f"# beside the folder\nFROM ./{FILE}\nPARAMETER num_ctx 8192\n"


def test_the_modelfile_is_the_one_with_the_settings_of_the_comparison(bench: Bench) -> None:
    folder = bench.folder / "release"
    assert bench.publish(str(folder)).code == 0
    said = (folder / "gguf" / "Modelfile").read_text()
    assert said == f'# as compared\nFROM ./{FILE}\nPARAMETER temperature 0.5\nSYSTEM """Be kind."""\n'


def test_a_report_leads_to_no_page_that_is_not_published(bench: Bench) -> None:
    folder = bench.folder / "release"
    assert bench.publish(str(folder)).code == 0
    said = (folder / "gguf" / "report.html").read_text()
    assert said == (
        '<!doctype html><a href="#evidence">Evidence</a><main>\n<p class="note">The page of every conversation was not '
        "published: words that led to it lead nowhere.</p><a>Ada</a> <svg><a><title>Ada</title></a></svg></main>"
    )
    assert not (folder / "gguf" / "conversations.html").exists()


def test_the_conversations_are_published_where_they_are_asked_for(bench: Bench) -> None:
    folder = bench.folder / "release"
    assert bench.publish(str(folder), conversations=True).code == 0
    assert (folder / "gguf" / "report.html").read_text() == REPORT
    assert "The judge said" in (folder / "gguf" / "conversations.html").read_text()
    assert "conversations.html" in (folder / "SHA256SUMS").read_text()


@pytest.mark.parametrize(("goal", "later"), [("trainer", "gguf-converter"), ("gguf-converter", "evaluator")])
def test_results_that_were_not_made_of_each_other_are_no_release(bench: Bench, goal: str, later: str) -> None:
    folder = bench.folder / "release"
    bench.make(goal, **{goal.replace("-", "_"): {"seed": 1}})
    done = bench.tuneline("get", "demo", "--release", str(folder))
    assert done.code == 2 and f"{later}: was made of another result of {goal}" in done.said and not folder.exists(), (
        done.said
    )


def test_a_prefix_of_a_bucket_takes_the_same_release_and_no_other(bench: Bench, s3: str) -> None:
    done = bench.publish(f"{s3}/releases/v1")
    assert done.code == 0, done.said
    place = open_store(f"{s3}/releases/v1")
    names = {entry.key for entry in place.list("")}
    assert {"SHA256SUMS", "provenance.intoto.json", "gguf/README.md", "adapter/README.md"} < names
    place.put("notes.txt", b"theirs")
    done = bench.publish(f"{s3}/releases/v1", replace=True, licence="mit")
    assert done.code == 2 and "another release" in done.said, done.said
    assert place.get("notes.txt") == b"theirs"
    done = bench.publish(f"{s3}/releases", replace=True)
    assert done.code == 2 and "holds no release" in done.said, done.said


def test_a_signature_without_a_token_is_refused_before_anything_is_written(bench: Bench) -> None:
    folder = bench.folder / "release"
    done = bench.publish(str(folder), sign=True)
    assert done.code == 2 and "SIGSTORE_ID_TOKEN" in done.said and not folder.exists(), done.said
    bench.environ["SIGSTORE_ID_TOKEN"] = "not.a.token"
    done = bench.publish(str(folder), sign=True)
    assert done.code == 2 and "no valid token" in done.said and not folder.exists(), done.said


def test_what_was_published_of_a_transcript_is_named_when_it_is_traced_or_forgotten(bench: Bench) -> None:
    out = bench.folder / "out"
    assert bench.publish(str(out), dataset=True).code == 0
    where = {name: (out / name).as_uri() for name in ("gguf", "adapter", "dataset")}
    traced = bench.tuneline("trace", "eva").said
    assert all(f"published  {uri}" in traced for uri in where.values())
    done = bench.tuneline("forget", "eva", "--yes")
    assert done.code == 0 and all(f"Not in this store: {uri}." in done.said for uri in where.values())
    assert "published" not in bench.tuneline("trace", "nobody").said


def test_a_data_set_of_a_run_without_a_model_is_named_too(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "store" / "runs" / "demo")
    bench.make("assessor")
    assert bench.publish(str(bench.folder / "out"), gguf=False, adapter=False, dataset=True).code == 0
    traced = bench.tuneline("trace", "eva").said
    assert "/out/dataset" in traced and "/out/gguf" not in traced
