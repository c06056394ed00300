from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit import forks, toys
from kit.toys import COUNTER, STAGES, CounterInputs, CounterOutputs, CounterParams
from tuneline.engine.identity import fingerprint
from tuneline.engine.records import Failure, Manifest, read_manifest
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import Outcome, find, new_job, run_job, work
from tuneline.errors import UserError
from tuneline.stage import Context, Metrics
from tuneline.store.base import local_path, open_store

forks.preload("tuneline.engine.runner", "tuneline.store.file", "tuneline.store.s3")


class Bench:
    """A folder with words, a store, and a way to run the toys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(str(folder / "store"))
        self.words("one", "two", "three")

    def words(self, *words: str) -> None:
        (self.folder / "words.txt").write_text("\n".join(words))

    def write(self, **content: Any) -> Path:
        file = self.folder / "run.yaml"
        inputs = {"words": "words.txt"} | content.pop("inputs", {})
        file.write_text(yaml.safe_dump({"run": "r", "inputs": inputs} | content))
        return file

    def run(self, node: str = "counter", *, replace: bool = False, **content: Any) -> Outcome:
        run_file = read_run_file(self.write(**content), STAGES)
        with new_job(run_file, run_file.step(node), self.store, replace=replace) as job:
            return run_job(job)

    def all_keys(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.store.list(prefix)]

    def output(self, outcome: Outcome, port: str) -> str:
        record = next(iter(outcome.manifest.outputs[port].files.values()))
        return (local_path(self.store.uri) / record.key).read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_chain_runs_and_its_manifests_tell_where_everything_came_from(bench: Bench) -> None:
    bench.run("counter")
    bench.run("counter@short")
    total = bench.run("adder")
    assert bench.output(total, "total") == "11 3\n"
    producer = total.manifest.inputs["counts"].producer
    assert producer is not None
    assert read_manifest(bench.store, *producer.split("/")) is not None
    link = bench.folder / "store" / "runs" / "r" / "adder" / "total.txt"
    assert link.read_text() == "11 3\n"
    assert sorted(p.name for p in (link.parents[1] / "counter" / "pages").iterdir()) == [
        "one.txt",
        "three.txt",
        "two.txt",
    ]


def test_a_second_run_finds_the_result_and_so_does_another_run(bench: Bench) -> None:
    first = bench.run()
    assert not first.reused
    assert bench.run().reused
    other = bench.run(run="other")
    assert other.reused
    assert other.manifest.fingerprint == first.manifest.fingerprint


def test_a_changed_parameter_is_refused_in_the_same_run_and_says_what_differs(bench: Bench) -> None:
    bench.run()
    before = bench.all_keys()
    with pytest.raises(UserError, match=r"counter\.shape\.width: 1 → 2") as e:
        bench.run(counter={"shape": {"width": 2}})
    assert "--replace" in str(e.value)
    assert bench.all_keys() == before
    replaced = bench.run(counter={"shape": {"width": 2}}, replace=True)
    assert not replaced.reused
    assert bench.run(counter={"shape": {"width": 2}}).reused


def test_changed_words_are_refused_in_the_same_run_and_only_they_are_counted_in_another(bench: Bench) -> None:
    bench.run()
    bench.words("one", "two", "three", "four")
    with pytest.raises(
        UserError, match=r"run r was made with other inputs or settings: inputs\.words changed \(words\.txt\)\."
    ):
        bench.run()
    assert bench.run(run="next").manifest.metrics.counts["fresh"] == 1


def test_a_later_stage_must_see_the_input_that_an_earlier_one_saw(bench: Bench) -> None:
    bench.run()
    bench.words("other")
    with pytest.raises(
        UserError, match=r"run r was made with other inputs or settings: inputs\.words changed \(words\.txt\)\."
    ):
        bench.run("counter@short")


def test_who_loses_a_race_for_the_pin_reads_what_differs_and_nothing_else(bench: Bench) -> None:
    run_file = read_run_file(bench.write(counter={"unit": "mine"}), STAGES)
    with new_job(run_file, run_file.step("counter"), bench.store) as job:
        found = find(job)
        bench.run(counter={"unit": "theirs"})
        with pytest.raises(UserError) as e:
            work(job, found)
    assert "run r was made with other inputs or settings: counter.unit: theirs → mine. Use another" in str(e.value)


def test_the_name_of_an_inline_input_is_its_place_in_the_run_file(bench: Bench) -> None:
    for text in ("inputs:\n  words:\n  - one\n  - wrong\n", "inputs: {words: [one, wrong]}\n"):
        (bench.folder / "run.yaml").write_text(f"run: r\ngoal: counter\n{text}")
        run_file = read_run_file(bench.folder / "run.yaml", {"counter": replace(COUNTER, run=refuse)})
        with new_job(run_file, run_file.step("counter"), bench.store) as job, pytest.raises(UserError) as e:
            run_job(job)
        line = 6 if "\n  -" in text else 3
        top = 4 if "\n  -" in text else 3
        assert str(e.value).replace(f"{bench.folder}/", "").splitlines() == [
            f"run.yaml:{line}: inputs.words.1: is a wrong word", f"run.yaml:{top}: inputs.words: is too short",
        ]  # fmt: skip


def refuse(params: CounterParams, inputs: CounterInputs, outputs: CounterOutputs, context: Context) -> Metrics:
    raise UserError(f"{inputs.words}:1: 1: is a wrong word\n{inputs.words}: is too short")


def test_a_change_of_pace_is_the_same_result(bench: Bench) -> None:
    bench.run()
    assert bench.run(counter={"pause": 0.5}).reused


def test_a_default_that_is_written_out_is_the_same_result(bench: Bench) -> None:
    bench.run()
    assert bench.run(counter={"unit": "letters", "shape": {"width": 1}}).reused


def test_inline_content_is_an_input_like_any_other(bench: Bench) -> None:
    outcome = bench.run(inputs={"words": ["x"]})
    assert outcome.manifest.inputs["words"].uri is None
    assert bench.output(outcome, "counts") == '["x"] 5\n'


def test_what_is_refused_before_work_leaves_nothing(bench: Bench) -> None:
    bench.words("right", "wrong")
    with pytest.raises(UserError, match=r"words:2: a wrong word"):
        bench.run("counter", inputs={})
    assert [k for k in bench.all_keys() if not k.startswith("journals")] == []


def test_what_fails_during_work_leaves_a_record_with_the_cause(bench: Bench) -> None:
    bench.words("one", "late-wrong")
    with pytest.raises(UserError):
        bench.run()
    (key,) = bench.all_keys("runs/r/failed/")
    failure = Failure.model_validate_json(bench.store.get(key) or b"")
    assert (failure.exit_code, failure.message) == (2, "words:2: found late")


def test_a_bug_is_recorded_by_type_and_place_but_not_by_message(bench: Bench) -> None:
    bench.words("one", "bug")
    with pytest.raises(RuntimeError):
        bench.run()
    (key,) = bench.all_keys("runs/r/failed/")
    data = bench.store.get(key) or b""
    assert json.loads(data)["type"] == "RuntimeError"
    assert "toys.py" in json.loads(data)["frames"][-1]
    assert b"canary" not in data


def test_a_missing_input_and_a_stage_that_has_not_run_are_user_errors(bench: Bench) -> None:
    with pytest.raises(UserError, match=r"run\.yaml:\d+: inputs\.words: .*absent"):
        bench.run(inputs={"words": "absent.txt"})
    with pytest.raises(UserError, match=r"inputs\.words: is missing\. counter needs it: Words, one per line\."):
        bench.run(inputs={"words": None})
    with pytest.raises(UserError, match="adder reads `counts` of counter, which has no result in run r"):
        bench.run("adder")
    assert bench.all_keys() == []


def test_the_fingerprint_does_not_change_between_versions_of_this_code() -> None:
    params = COUNTER.params.model_validate({"shape": {"width": 2}, "pause": 3})
    digest = fingerprint("counter", 1, params, {"words": "0" * 64})
    assert digest == "b6b9e8913e7ba226e908bace540499c9059831c68dde654c40e33aa419f55550"


def run_until_killed(bench: Bench, uri: str, at: int) -> int:
    """Run the counter in a process that kills itself at the `at`-th store operation; returns its exit code."""
    words = (str(bench.write()), uri, str(bench.folder / "scratch"), at, dict(os.environ))
    process = forks.start(toys.main, *words)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def all_verify(uri: str, manifest: Manifest, folder: Path) -> bool:
    """Download every file that a manifest lists; raises if one is not what it says."""
    store = open_store(uri)
    for output in manifest.outputs.values():
        for record in output.files.values():
            store.download(record, folder / record.sha256)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_kill_before_or_after_any_store_operation_loses_nothing(
    bench: Bench, kind: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue("s3") if kind == "s3" else str(bench.folder / "killed")
    bench.words("one", "two")
    undisturbed = bench.run().manifest
    hashes = {name: output.sha256 for name, output in undisturbed.outputs.items()}
    # On S3, where each of them takes its time, a third of the moments; the store's own tests take all of them there.
    for at in range(0, 200, 3 if kind == "s3" else 1):
        uri = f"{root}/{at}"
        code = run_until_killed(bench, uri, at)
        manifest = read_manifest(open_store(uri), "counter", undisturbed.fingerprint)
        assert manifest is None or all_verify(uri, manifest, bench.folder)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert run_until_killed(bench, uri, -1) == 0
        manifest = read_manifest(open_store(uri), "counter", undisturbed.fingerprint)
        assert manifest is not None
        assert {name: output.sha256 for name, output in manifest.outputs.items()} == hashes
    assert at >= 20


def test_a_store_that_cannot_be_made_is_named_as_it_was_written(bench: Bench) -> None:
    bench.store = open_store("/proc/nowhere")
    with pytest.raises(UserError) as refused:
        bench.run(inputs={"words": ["one"]})
    assert str(refused.value) == "/proc/nowhere: no folder can be made there: No such file or directory."
