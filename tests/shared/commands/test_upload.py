"""`tuneline upload`: what a cluster reads from the store is what lies here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kit.judge_parts import RUBRIC, write_transcripts
from kit.places import EXAMPLES
from kit.toys import STAGES
from kit.uploads import upload, upload_until_killed
from kit.workflow_parameters import as_parameters
from tuneline.engine.records import pinned_manifest
from tuneline.engine.runfile import RunFile, read_run_file, read_run_parameters
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import Changed, UserError
from tuneline.store.base import FileRecord, Store, open_store
from tuneline.store.file import FileStore

BIN = Path(sys.executable).parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A run file with a file and a folder, of which only the tables are read."""
    (tmp_path / "in" / "table" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "words.txt").write_text("one two é\n")
    for name in ("a.txt", "deep/b.txt", "huge.bin", ".hidden.txt"):
        (tmp_path / "in" / "table" / name).write_text(name)
    file = tmp_path / "in" / "night run.yaml"
    file.write_text("# by hand\nrun: toys\ninputs: {words: words.txt, table: table}\ncounter: {pause: 0.0}\n")
    return file


def count(run_file: RunFile, store: Store) -> str:
    with new_job(run_file, run_file.step("counter"), store) as job:
        return run_job(job).manifest.fingerprint


def keys(store: Store) -> dict[str, str]:
    return {entry.key: entry.stamp for entry in store.list("")}


def test_a_result_from_uploaded_inputs_has_the_fingerprint_of_one_from_the_files(
    file: Path, store: Store, tmp_path: Path
) -> None:
    here = count(read_run_file(file, STAGES), open_store(str(tmp_path / "laptop")))
    data = (tmp_path / "the store",)
    handed_on = read_run_parameters(as_parameters(upload(file, store).printed), STAGES, data=data)
    shutil.rmtree(file.parent)
    assert all(str(address[0]).startswith(f"{store.uri}/uploads/") for address in handed_on.inputs.values())
    assert count(handed_on, store) == here


def test_only_files_that_a_stage_reads_are_sent(file: Path, store: Store) -> None:
    told = upload(file, store).told
    sent = sorted(key.split("/", 2)[2] for key in keys(store) if key.count("/") > 1)
    assert sent == ["a.txt", "deep/b.txt", "words.txt"]
    assert told == ["words: 1 file, 11 B, 1 sent", "table: 2 files, 15 B, 2 sent"]


def test_of_a_transcripts_folder_nothing_else_is_sent_or_part_of_its_identity(tmp_path: Path, store: Store) -> None:
    transcripts = tmp_path / "t"
    transcripts.mkdir()
    write_transcripts(transcripts / "t.jsonl", 2)
    (tmp_path / "id_rsa").write_text("canary")
    file = tmp_path / "run.yaml"
    inputs = {"transcripts": "t", "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    file.write_text(yaml.safe_dump({"goal": "assessor", "inputs": inputs}))
    before = cli("upload", str(file), "--store", store.uri)
    (transcripts / "hr.xlsx").write_text("salaries")
    (transcripts / "notes.txt").symlink_to(tmp_path / "id_rsa")
    assert cli("upload", str(file), "--store", store.uri) == before
    assert sorted(key.rpartition("/")[2] for key in keys(store) if key.count("/") > 1) == ["t.jsonl"]


def cli(*words: str) -> str:
    return subprocess.run([BIN / "tuneline", *words], check=True, capture_output=True, text=True).stdout


def test_the_run_file_is_printed_with_addresses_and_everything_else_as_it_was(file: Path, store: Store) -> None:
    printed = yaml.safe_load(upload(file, store).printed)
    assert list(printed) == ["run", "inputs", "counter"]
    words, table = printed.pop("inputs").values()
    assert words.startswith(f"{store.uri}/uploads/words-") and words.endswith("/words.txt")
    assert table.startswith(f"{store.uri}/uploads/table-")
    assert printed == {"run": "toys", "counter": {"pause": 0.0}}


def test_a_run_without_a_name_has_the_stem_of_its_file(file: Path, store: Store) -> None:
    file.rename(file.with_name("night.yaml"))
    file.with_name("night.yaml").write_text("inputs: {words: words.txt, table: null}\ncounter:\n")
    printed = yaml.safe_load(upload(file.with_name("night.yaml"), store).printed)
    assert printed["run"] == "night"
    assert list(printed) == ["run", "inputs"]
    assert list(printed["inputs"]) == ["words"]


def test_content_and_addresses_elsewhere_pass_unchanged(file: Path, store: Store) -> None:
    elsewhere = {"words": ["inline", 2.0, "1e-5", "y"], "table": "s3://elsewhere/x", "counts": "hf://org/name@main"}
    file.write_text(yaml.safe_dump({"run": "toys", "inputs": elsewhere}))
    assert yaml.safe_load(upload(file, store).printed)["inputs"] == elsewhere
    assert keys(store) == {}


def test_what_is_there_already_is_not_sent_again(file: Path, store: Store) -> None:
    first, before = upload(file, store), keys(store)
    second, after = upload(file, store), keys(store)
    assert second.printed == first.printed
    assert [line.rpartition(", ")[2] for line in second.told] == ["there already", "there already"]
    assert {k: s for k, s in before.items() if k[-5:] != ".json"} == {
        k: s for k, s in after.items() if k[-5:] != ".json"
    }
    (file.parent / "table" / "a.txt").write_text("changed")
    assert upload(file, store).told == ["words: 1 file, 11 B, there already", "table: 2 files, 17 B, 2 sent"]
    assert len(keys(store)) == len(after) + 3


@pytest.mark.slow
def test_a_killed_upload_goes_on_and_ends_the_same(file: Path, uri: str, tmp_path: Path) -> None:
    whole = open_store(f"{uri}/whole")
    printed = upload(file, whole).printed
    for at in range(100):
        store = open_store(f"{uri}/{at}")
        code = upload_until_killed(file, store.uri, at)
        before = keys(store)
        again, after = upload(file, store).printed, keys(store)
        assert again == printed.replace(whole.uri, store.uri)
        assert list(after) == list(keys(whole))
        assert [k for k in before if before[k] != after[k] and not k.endswith(".json")] == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert at >= 12


class ChangingStore(FileStore):
    """A store whose user saves a file once more just before it is uploaded."""

    def upload(self, path: Path, key: str) -> FileRecord:
        path.write_text(path.read_text().upper())
        return super().upload(path, key)


def test_a_file_that_changes_meanwhile_is_refused_and_nothing_wrong_stays(file: Path, tmp_path: Path) -> None:
    store = ChangingStore(tmp_path / "store")
    with pytest.raises(Changed, match=r"\.txt: the file changed while it was uploaded"):
        upload(file, store)
    assert keys(store) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs: {words: words.txt, tabel: table}", "inputs.tabel: no stage reads this input; did you mean `table`?"),
        ("inputs: {words: words.txt, table: absent}", "absent does not exist"),
        ("inputs: {words: words.txt, table: 'file:///absent'}", "inputs.table: /absent: No such file"),
        ("inputs: {words: words.txt, table: empty}", "inputs.table: file://"),
        ("inputs: {table: table}", "inputs.words: is missing. counter needs it: Words, one per line."),
        ("inputs: {words: words.txt}\ncounter: {unti: x}", "counter.unti: unknown key"),
    ],
)
def test_nothing_is_sent_of_a_run_file_that_would_be_refused(file: Path, text: str, message: str, store: Store) -> None:
    (file.parent / "empty").mkdir()
    file.write_text(f"run: toys\n{text}\n")
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("?", r"\?")):
        upload(file, store)
    assert keys(store) == {}


def test_an_input_that_no_stage_up_to_the_goal_reads_is_left_out(file: Path, store: Store) -> None:
    file.write_text(
        "run: toys\ngoal: adder\ninputs: {words: words.txt, counts: words.txt, short: words.txt, pages: table}\n"
    )
    done = upload(file, store)
    assert list(yaml.safe_load(done.printed)["inputs"]) == ["counts", "short", "pages"]
    assert done.told[0] == "words: left out, because no stage of this run reads it"


@pytest.mark.slow
def test_the_real_stages_find_the_same_results_from_laptop_and_cluster(
    uri: str, tmp_path: Path, tiny_base: Path
) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    content = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
    content["inputs"]["base_model"] = str(tiny_base)
    del content["run"]
    file = tmp_path / "examples" / "demo.yaml"
    file.write_text(yaml.safe_dump(content | {"goal": "slicer"}))
    words = [str(BIN / "tuneline"), "upload", str(file), "--store", uri]
    uploaded = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "transcripts: 16 files" in uploaded.stderr
    laptop, cluster = open_store(str(tmp_path / "laptop")), open_store(uri)
    environ = os.environ | {"RUN_FILE": as_parameters(uploaded.stdout), "TUNELINE_STORE": uri}
    for stage in ("assessor", "slicer"):
        program = str(BIN / f"tuneline-{stage}")
        subprocess.run([program, "run", "--file", file, "--store", laptop.uri], capture_output=True, check=True)
        subprocess.run([program, "run"], env=environ, capture_output=True, check=True)
        here, there = pinned_manifest(laptop, "demo", stage), pinned_manifest(cluster, "demo", stage)
        assert here is not None and there is not None
        assert here.fingerprint == there.fingerprint
        assert {n: o.sha256 for n, o in here.outputs.items()} == {n: o.sha256 for n, o in there.outputs.items()}


def test_a_link_that_leads_out_of_a_folder_is_not_followed_to_the_store(file: Path, store: Store) -> None:
    (file.parent.parent / "id_rsa.txt").write_text("canary")
    (file.parent / "table" / "notes.txt").symlink_to(file.parent.parent / "id_rsa.txt")
    with pytest.raises(UserError, match=r"notes\.txt: the symbolic link leads out of .*/table\. Use a copy"):
        upload(file, store)
    assert keys(store) == {}


def test_the_links_of_the_hubs_cache_are_followed(file: Path, store: Store) -> None:
    repository = file.parent / "models--toys--tiny"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / "0123").mkdir(parents=True)
    (repository / "blobs" / "1").write_text("one table")
    (repository / "snapshots" / "0123" / "a.txt").symlink_to("../../blobs/1")
    (file.parent / "blobs" / "ab").mkdir(parents=True)
    (file.parent / "blobs" / "ab" / "2").write_text("shared by all repositories of the cache")
    (repository / "blobs" / "2").symlink_to("../../blobs/ab/2")
    (repository / "snapshots" / "0123" / "b.txt").symlink_to("../../blobs/2")
    file.write_text("run: r\ninputs: {words: words.txt, table: models--toys--tiny/snapshots/0123}\n")
    upload(file, store)
    assert {key.rpartition("/")[2] for key in keys(store)} >= {"a.txt", "b.txt"}


def test_what_another_stage_makes_is_named_in_the_printed_file_as_it_was(file: Path, store: Store) -> None:
    file.write_text("run: r\ninputs: {words: words.txt, counts: 'output:counter/counts'}\n")
    assert yaml.safe_load(upload(file, store).printed)["inputs"]["counts"] == "output:counter/counts"
