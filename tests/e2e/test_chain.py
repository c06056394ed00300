"""The whole chain through the command line: real stages, a real model, the real llama-server, on a file store."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from kit.places import EXAMPLES
from tuneline.commands.status import status_of
from tuneline.engine.records import Manifest, pinned_manifest
from tuneline.store.base import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("chain")]

TUNELINE = Path(sys.executable).parent / "tuneline"
STAGES = ["assessor", "slicer", "trainer", "gguf-converter", "gguf-converter@base", "evaluator"]


class Laptop:
    """A folder with a copy of the examples, a run file and a store."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base = folder, base
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(EXAMPLES / "transcripts", folder / "transcripts")
        for name in ("rubric.yaml", "personas.yaml"):
            shutil.copy(EXAMPLES / name, folder)
        personas = yaml.safe_load((folder / "personas.yaml").read_text())
        personas["personas"] = personas["personas"][:6]
        (folder / "personas.yaml").write_text(yaml.safe_dump(personas))
        self.store = open_store(str(folder / "store"))

    def write(self, *, run: str = "demo", goal: str | None = None, **stages: object) -> Path:
        content = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
        content["inputs"] |= {"transcripts": "transcripts", "rubric": "rubric.yaml", "personas": "personas.yaml"}
        content["inputs"] |= {"base_model": str(self.base)}
        content["trainer"] |= {"epochs": 1, "threads": 1}
        content["gguf-converter"] |= {"min_top1_agreement": 0.1}  # random weights: nothing stands out
        content["evaluator"] |= {"turns": 2}
        content |= {"run": run, "goal": goal}
        for stage, params in stages.items():
            content[stage] |= params
        file = self.folder / f"{run}.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return file

    def run(self, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(file, *more), capture_output=True, text=True, check=False)

    def command(self, file: Path, *more: str) -> list[str]:
        return [str(TUNELINE), "run", str(file), "--store", self.store.uri, *more]

    def manifest(self, stage: str, run: str = "demo") -> Manifest:
        manifest = pinned_manifest(self.store, run, stage)
        assert manifest is not None
        return manifest

    def add_transcript(self) -> None:
        row = json.loads((self.folder / "transcripts" / "web-chat.jsonl").read_text().splitlines()[0])
        (self.folder / "transcripts" / "one-more.json").write_text(json.dumps(row | {"id": "one-more"}))
        text = (self.folder / "transcripts" / "one-more.json").read_text()
        (self.folder / "transcripts" / "one-more.json").write_text(text.replace("coffee", "morning coffee", 1))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Laptop:
    """A laptop on which the run `demo` is complete."""
    laptop = Laptop(tmp_path_factory.mktemp("chain"), tiny_base)
    done = laptop.run(laptop.write())
    assert done.returncode == 0, done.stderr
    verdict, report, view = done.stdout.splitlines()
    assert verdict.startswith("Verdict: ")
    for page in (report.removeprefix("Report: "), view.removeprefix("View: ")):
        assert Path(page).read_text().startswith("<!doctype html>")
    return laptop


def test_a_second_run_finds_nothing_to_do_in_seconds(laptop: Laptop) -> None:
    before = os.times()
    done = laptop.run(laptop.write())
    after = os.times()
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "Nothing to do: run demo is up to date."
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 10, "seconds of a processor, however busy the machine is"


def test_a_stage_puts_verdict_and_report_where_a_workflow_looks_for_them(laptop: Laptop, tmp_path: Path) -> None:
    program = str(TUNELINE.with_name("tuneline-evaluator"))
    words = [program, "run", "--file", str(laptop.write()), "--store", laptop.store.uri]
    subprocess.run(words, env=os.environ | {"TUNELINE_OUTPUTS": str(tmp_path)}, check=True)
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told["headline"] == laptop.manifest("evaluator").metrics.headline
    assert Path(told["report"]).read_text().startswith("<!doctype html>")
    assert Path(told["view"]).read_text().startswith("<!doctype html>")
    assert told["decision"] == laptop.manifest("evaluator").metrics.counts["verdict"] and float(told["usd"]) == 0
    assert told.keys() == {"headline", "report", "view", "items", "decision", "usd"}


def test_show_tells_what_each_stage_read_and_wrote_and_get_fetches_an_output(laptop: Laptop, tmp_path: Path) -> None:
    shown = subprocess.run(
        [TUNELINE, "show", "demo", "--store", laptop.store.uri], capture_output=True, text=True, check=True
    ).stdout
    assert all(stage in shown for stage in STAGES)
    words = [str(TUNELINE), "get", "demo", "gguf-converter/model", str(tmp_path), "--store", laptop.store.uri]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    (file,) = (tmp_path / "model").iterdir()
    assert file.read_bytes()[:4] == b"GGUF"


def test_the_model_is_served_and_the_command_that_is_told_gets_an_answer(laptop: Laptop) -> None:
    words = [str(TUNELINE), "serve", "demo", "--store", laptop.store.uri]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = list(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
        curl = next(line.strip() for line in told if line.strip().startswith("curl "))
        answer = subprocess.run(["bash", "-c", f"{curl} --silent --noproxy '*'"], capture_output=True, check=True)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
    choice = json.loads(answer.stdout)["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert told[0].startswith(
        "Tuneline-Tiny-3.7M-coffee-support-v1-Q4_K_M.gguf (finetuned) is served at http://127.0.0.1:"
    )
    assert "temperature 0.5" in told[1] and "no system prompt" in told[1]


def test_an_earlier_fine_tune_is_the_base_of_a_comparison_and_the_report_calls_it_one(laptop: Laptop) -> None:
    words = [str(TUNELINE), "get", "demo", "gguf-converter/model", "earlier", "--store", laptop.store.uri]
    subprocess.run(words, capture_output=True, check=True, cwd=laptop.folder)
    (earlier,) = (laptop.folder / "earlier").rglob("*.gguf")
    file = laptop.write(run="again", trainer={"seed": 7}, inputs={"base": str(earlier)})
    done = laptop.run(file)
    assert done.returncode == 0, done.stderr
    assert pinned_manifest(laptop.store, "again", "gguf-converter@base") is None, "no base is converted in its place"
    results = laptop.folder / "store" / "runs" / "again" / "evaluator"
    base, model = json.loads((results / "comparison.json").read_text())["arms"]
    assert (base["file"], model["file"]) == (earlier.name, earlier.name)
    assert base["tuned_from"] and model["tuned_from"]
    report = (results / "report.html").read_text()
    assert "The base is itself a fine-tune." in report and "One model twice." not in report


def test_one_more_transcript_in_a_new_run_is_the_only_one_judged(laptop: Laptop) -> None:
    laptop.add_transcript()
    try:
        done = laptop.run(laptop.write(run="next", goal="assessor"))
        assert done.returncode == 0, done.stderr
        assert laptop.manifest("assessor", "next").metrics.counts["judged_now"] == 1
    finally:
        (laptop.folder / "transcripts" / "one-more.json").unlink()


def test_a_changed_trainer_parameter_reuses_assessor_and_slicer_and_is_refused_under_the_same_name(
    laptop: Laptop,
) -> None:
    refused = laptop.run(laptop.write(goal="trainer", trainer={"learning_rate": 0.0003}))
    assert refused.returncode == 2
    assert "trainer.learning_rate" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = laptop.run(laptop.write(run="warmer", goal="trainer", trainer={"learning_rate": 0.0003}))
    assert done.returncode == 0, done.stderr
    for stage in ("assessor", "slicer"):
        assert laptop.manifest(stage, "warmer") == laptop.manifest(stage)
    assert laptop.manifest("trainer", "warmer").fingerprint != laptop.manifest("trainer").fingerprint


def test_no_transcript_text_is_in_a_log_or_in_a_record(laptop: Laptop) -> None:
    said = []
    for path in (EXAMPLES / "transcripts").rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            said += [m.get("content") or m.get("value") for m in row.get("messages") or row.get("conversations") or []]
    assert said
    folder = laptop.folder / "store"
    for path in [*folder.glob("runs/demo/logs/*"), *folder.rglob("manifest.json"), *folder.glob("runs/*/*.json")]:
        text = path.read_text()
        assert not [s for s in said if s and len(s) > 20 and s in text], path


@pytest.fixture
def fresh(tmp_path: Path, tiny_base: Path) -> Laptop:
    return Laptop(tmp_path, tiny_base)


def written(laptop: Laptop) -> list[Path]:
    return list((laptop.folder / "store").rglob("*"))


def test_a_broken_transcript_exits_2_names_the_place_and_writes_nothing(fresh: Laptop) -> None:
    (fresh.folder / "transcripts" / "broken.jsonl").write_text('{"id": "x", "messages": [{"role": "user"}]}\n{"id"\n')
    done = fresh.run(fresh.write())
    assert done.returncode == 2
    assert "broken.jsonl:1: messages" in done.stderr
    assert "broken.jsonl:2:" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p for p in written(fresh) if p.is_file()] == []


def test_a_misspelt_parameter_exits_2_and_names_it_before_any_stage(fresh: Laptop) -> None:
    done = fresh.run(fresh.write(trainer={"learning_rat": 1}))
    assert done.returncode == 2
    assert "trainer.learning_rat: unknown key; did you mean `learning_rate`?" in done.stderr
    assert written(fresh) == []


def test_a_missing_base_model_exits_2_before_any_stage(fresh: Laptop) -> None:
    fresh.base = fresh.folder / "absent"
    done = fresh.run(fresh.write())
    assert done.returncode == 2
    assert "demo.yaml:" in done.stderr
    assert "inputs.base_model" in done.stderr
    assert "absent does not exist" in done.stderr
    assert written(fresh) == []


def test_ten_kills_at_random_moments_end_in_the_same_bytes(laptop: Laptop, fresh: Laptop) -> None:
    """SIGKILL for the runner and all its stages, ten times; then the run is finished undisturbed."""
    pick = random.Random(7)
    file = fresh.write(goal="trainer")
    for _ in range(10):
        with subprocess.Popen(fresh.command(file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(pick.uniform(1.0, 12.0))
            tree = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            for victim in [process.pid, *(child.pid for child in tree)]:
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
    done = fresh.run(file)
    assert done.returncode == 0, done.stderr
    for stage in ("assessor", "slicer", "trainer"):
        hashes = {name: output.sha256 for name, output in fresh.manifest(stage).outputs.items()}
        assert hashes == {name: output.sha256 for name, output in laptop.manifest(stage).outputs.items()}, stage


def test_ctrl_c_saves_and_the_same_command_goes_on(fresh: Laptop) -> None:
    file = fresh.write(goal="trainer", trainer={"epochs": 3})
    with subprocess.Popen(fresh.command(file), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while not list((fresh.folder / "store").glob("results/trainer/*/state/index.json")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 75, said
    assert "run the same command again" in said
    assert "stopping trainer: at most 25 s to save; Ctrl-C again leaves at once" in said
    status = status_of(open_store(str(fresh.folder / "store")), "demo")
    assert [(step.step, step.state) for step in status.steps if step.state == "stopped"] == [("trainer", "stopped")]
    done = fresh.run(file)
    assert done.returncode == 0, done.stderr
    assert fresh.manifest("trainer").metrics.counts["resumed_from_step"]
