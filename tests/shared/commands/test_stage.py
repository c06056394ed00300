"""The command line of a stage, as a workflow calls it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from kit.places import EXAMPLES
from kit.support import alone
from kit.toys import CounterInputs, CounterParams
from kit.workflow_parameters import as_parameters
from tuneline.commands.show import essence
from tuneline.commands.stage import exit_codes
from tuneline.engine.runner import new_job, run_job
from tuneline.stage import Context, Metrics, Outputs, Stage
from tuneline.stage import page as declared_page
from tuneline.store.base import open_store

ASSESSOR = Path(sys.executable).parent / "tuneline-assessor"
INPUTS = {
    "transcripts": str(EXAMPLES / "transcripts" / "desk"), "rubric": str(EXAMPLES / "rubric.yaml"),
    "judge": {"provider": "heuristic"},
}  # fmt: skip


class Pod:
    """A place where the assessor runs with nothing but its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = os.environ | {
            "TUNELINE_STORE": str(folder / "store"),
            "WORKFLOW": "finetune-x7k2p",
            "TUNELINE_DATA": str(EXAMPLES),
        }

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [str(ASSESSOR), "run", *words]
        return subprocess.run(command, env=self.environ | environ, capture_output=True, text=True, check=False)

    def runs(self) -> list[str]:
        return sorted(p.name for p in (self.folder / "store" / "runs").iterdir())


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_a_stage_reads_its_run_file_from_the_environment_and_tells_what_came_of_it(pod: Pod) -> None:
    told = pod.folder / "new" / "outputs"
    for word in ("made", "found"):
        run_file = as_parameters(yaml.safe_dump({"inputs": INPUTS}))
        done = pod.run("--variant=", RUN_FILE=run_file, TUNELINE_OUTPUTS=str(told))
        assert done.returncode == 0, done.stderr
        first, headline, page = done.stdout.splitlines()
        assert first.endswith(f" {word}")
        assert "of 14 transcripts passed" in headline and page.endswith("/assessor/audit.md")
        assert sorted(p.name for p in told.iterdir()) == ["audit", "decision", "headline", "items", "usd"]
        assert "of 14 transcripts passed" in (told / "headline").read_text()
        shutil.rmtree(told)
    assert pod.runs() == ["finetune-x7k2p"]


def test_the_option_wins_over_the_environment(pod: Pod) -> None:
    file = pod.folder / "by-hand.yaml"
    file.write_text(yaml.safe_dump({"inputs": INPUTS}))
    assert pod.run("--file", str(file), RUN_FILE="not even base64").returncode == 0
    assert pod.runs() == ["by-hand"]


def test_a_variable_that_is_no_run_file_exits_2_and_is_not_quoted(pod: Pod) -> None:
    for environ, message in (
        ({"RUN_FILE": "canary!"}, "RUN_FILE: is not base64"),
        ({"RUN_FILE": as_parameters("inputs: 'canary'")}, "parameter inputs: not JSON"),
        ({"RUN_FILE": ""}, "name a run file with --file; RUN_FILE, where a workflow puts it, is not set either"),
    ):
        done = pod.run(**environ)
        assert done.returncode == 2
        assert message in done.stderr
        assert "canary" not in done.stderr
        assert "Traceback" not in done.stderr


def test_outputs_that_cannot_be_written_are_a_clear_error(pod: Pod) -> None:
    (pod.folder / "file").write_text("")
    run_file = as_parameters(yaml.safe_dump({"inputs": INPUTS}))
    done = pod.run(RUN_FILE=run_file, TUNELINE_OUTPUTS=str(pod.folder / "file"))
    assert done.returncode == 2
    assert "file: File exists" in done.stderr


WITHOUT_RIGHTS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
"""Lets root obey the permissions of files, too."""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux")
@pytest.mark.parametrize("what", ["store", "journals", "scratch", "TMPDIR"])
def test_a_folder_that_cannot_be_written_is_named_and_no_bug(pod: Pod, what: str) -> None:
    run_file = as_parameters(yaml.safe_dump({"inputs": INPUTS}))
    folder = pod.folder / "locked"
    folder.mkdir(mode=0o555)
    places = {
        "store": {"TUNELINE_STORE": str(folder / "store")},
        "journals": {},
        "scratch": {"TUNELINE_SCRATCH": str(folder / "scratch")},
        "TMPDIR": {"TUNELINE_SCRATCH": str(folder), "TMPDIR": str(folder)},
    }
    if what == "journals":
        (pod.folder / "store").mkdir()
        (pod.folder / "store" / "journals").mkdir(mode=0o555)
        folder = pod.folder / "store" / "journals"
    environ = pod.environ | places[what] | {"RUN_FILE": run_file}
    command = [*WITHOUT_RIGHTS, str(ASSESSOR), "run"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "bug" in done.stderr) == (2, False), done.stderr
    last = done.stderr.splitlines()[-1]
    assert str(folder) in last and last.endswith(": Permission denied."), last


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EROFS, 2), (errno.EACCES, 2), (errno.ENOSPC, 75), (errno.EDQUOT, 75), (errno.ENOENT, 1)]
)
def test_what_a_disk_refuses_anywhere_in_a_stage_is_named(
    tmp_path: Path, number: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(params: CounterParams, inputs: CounterInputs, outputs: PageOutputs, context: Context) -> Metrics:
        context.progress(0, 1)
        raise OSError(number, os.strerror(number), "/scratch/merged.gguf")

    stage, store = Stage("writer", 1, CounterParams, CounterInputs, PageOutputs, work), open_store(str(tmp_path / "s"))
    run_file = alone(stage, tmp_path, {"words": ["one"]}, {}, "r")
    with (
        pytest.raises(typer.Exit) as end,
        exit_codes(),
        new_job(run_file, run_file.step("writer"), store, tmp_path / "scratch") as job,
    ):
        run_job(job)
    assert end.value.exit_code == code
    assert ("/scratch/merged.gguf: " + os.strerror(number) in capsys.readouterr().err) == (code != 1)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--part=1/3"], "--part 1/3: assessor cannot be done in parts"),
        (["--shard=x"], "'x' is not a part; 3/10 is the third of ten"),
        (["--shard=1/3"], "assessor/1-of-3 is not part of this run"),
        (["--variant=other"], "assessor@other is not part of this run"),
    ],
)
def test_a_part_or_shard_that_a_stage_does_not_have_is_refused(pod: Pod, words: list[str], problem: str) -> None:
    done = pod.run(*words, RUN_FILE=as_parameters(yaml.safe_dump({"inputs": INPUTS})))
    assert done.returncode == 2
    assert problem in done.stderr


class PageOutputs(Outputs):
    """A page."""

    page: Path = declared_page("page.html")
    """What people read."""


def write_page(params: CounterParams, inputs: CounterInputs, outputs: PageOutputs, context: Context) -> Metrics:
    outputs.page.write_text("<p>page</p>")
    return Metrics(headline="two\nlines")


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_page_is_named_by_its_address(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = open_store(request.getfixturevalue("s3") if kind == "s3" else str(tmp_path / "store"))
    stage = Stage("writer", 1, CounterParams, CounterInputs, PageOutputs, write_page)
    run_file = alone(stage, tmp_path, {"words": ["one"]}, {}, "r")
    with new_job(run_file, run_file.step("writer"), store, tmp_path / "scratch") as job:
        manifest = run_job(job).manifest
    told = essence(store, "r", "writer", manifest)
    assert list(told) == ["headline", "page"]
    assert told["headline"] == "two lines"
    if kind == "file":
        assert Path(told["page"]).read_text() == "<p>page</p>"
    else:
        assert told["page"] == f"{store.uri}/{manifest.outputs['page'].files['page.html'].key}"


LEAVING = """
import atexit, sys
from tuneline.commands.stage import stage_main
from tuneline_slicer.stage import STAGE

class Knot:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("searched")

held = Knot()
sys.argv = ["tuneline-slicer", "schema"]
atexit.register(print, "done before")
stage_main(STAGE)
"""


def test_a_stage_that_ends_does_not_search_all_that_it_holds() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, check=True)
    assert '"stage": "slicer"' in done.stdout and done.stdout.endswith("done before\n"), done.stdout[-100:]
