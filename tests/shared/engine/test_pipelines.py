from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from kit.support import alone
from kit.toys import COUNTER, STAGES, CounterInputs, CounterOutputs, CounterParams, count
from tuneline.engine.pipelines import OutputOf, plan
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.engine.runner import new_job, run_job
from tuneline.errors import UserError
from tuneline.stage import Context, Inputs, Metrics, Stage, given, installed_stages
from tuneline.store.base import open_store

OTHER = Stage("other", 1, CounterParams, CounterInputs, CounterOutputs, count)
"""A stage that reads and makes what the counter does."""


def read(folder: Path, **content: object) -> RunFile:
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": "r", **content}))
    return read_run_file(folder / "run.yaml", STAGES | {"other": OTHER})


def test_a_stage_that_is_installed_joins_no_run_by_that() -> None:
    stages = installed_stages()
    before = [(step.name, step.needs) for step in plan(stages, {})]
    assert [(step.name, step.needs) for step in plan(stages | {"other": OTHER}, {})] == before
    assert [(step.name, step.needs) for step in plan(stages, {}, "finetune")] == before
    assert [step.name for step in plan(stages | {"other": OTHER}, {}, "other")] == ["other"]


class LinesInputs(Inputs):
    """Inputs of the second stage."""

    lines: Path = given()
    """Lines."""


def copy(params: CounterParams, inputs: LinesInputs, outputs: CounterOutputs, context: Context) -> Metrics:
    outputs.counts.write_text(inputs.lines.read_text())
    (outputs.pages / "page.txt").write_text("page")
    return Metrics(headline="copied")


COPIER = Stage("copier", 1, CounterParams, LinesInputs, CounterOutputs, copy)


def test_an_input_that_is_the_output_of_another_stage_is_an_edge_and_has_its_identity(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    inputs = {"words": "output:copier/counts", "lines": "lines.txt"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": "counter", "inputs": inputs}))
    run_file = read_run_file(tmp_path / "run.yaml", {"counter": COUNTER, "copier": COPIER})
    assert run_file.inputs["words"] == OutputOf("copier", "counts")
    assert [(step.name, step.needs) for step in run_file.steps] == [("copier", ()), ("counter", ("copier",))]
    store = open_store(str(tmp_path / "store"))
    with (
        new_job(run_file, run_file.step("counter"), store) as early,
        pytest.raises(UserError, match="counter reads `counts` of copier, which has no result in run r yet"),
    ):
        run_job(early)
    for name in ("copier", "counter"):
        with new_job(run_file, run_file.step(name), store) as job:
            made = run_job(job).manifest
    producer = made.inputs["words"].producer
    assert producer is not None and producer.startswith("copier/")
    file = alone(COUNTER, tmp_path / "alone", {"words": tmp_path / "lines.txt"}, {}, "r")
    with new_job(file, file.step("counter"), open_store(str(tmp_path / "other"))) as job:
        assert run_job(job).manifest.fingerprint == made.fingerprint  # the same bytes are the same input


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("output:othre/counts", "'output:othre/counts' is not output:<stage>/<port>: no such stage; did you mean"),
        ("output:other/cuonts", "other makes no 'cuonts'; did you mean `counts`?"),
        ("output:counts", "is not output:<stage>/<port>"),
        ("output:counter@long/counts", "no such stage"),
        ("output:counter/counts", "these stages wait for each other: counter"),
    ],
)
def test_an_output_that_cannot_be_is_refused_with_its_place(value: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as e:
        read(tmp_path, goal="counter", inputs={"words": value})
    assert problem in str(e.value) and str(tmp_path / "run.yaml") in str(e.value)


def test_what_a_run_does_not_do_is_not_checked_and_said_to_be_left_out(tmp_path: Path) -> None:
    with capture_logs() as logs:
        run_file = read(tmp_path, goal="counter", adder={"start": "many"}, counter={"unit": "x"}, inputs={})
    assert list(run_file.params) == ["counter"]
    assert [entry["key"] for entry in logs] == ["adder"]
    with pytest.raises(UserError, match=r"run\.yaml:2: adder\.start: "):
        read(tmp_path, goal="adder", adder={"start": "many"})


def test_stages_without_a_pipeline_run_to_those_that_nobody_reads(tmp_path: Path) -> None:
    run_file = alone(COUNTER, tmp_path, {"words": ["one"]}, {}, "r")
    assert [step.name for step in run_file.steps] == ["counter"]
    assert [step.name for step in plan(STAGES, {})][-1] == "adder"
