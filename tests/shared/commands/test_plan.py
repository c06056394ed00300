"""A plan, the run that it plans, and the ledger: on a server that bills by a script."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from kit.chat_models import write_chat_model
from kit.places import EXAMPLES
from priced_server import serve
from tuneline.commands.costs import ledger_of
from tuneline.commands.plan import planned
from tuneline.commands.show import results_of
from tuneline.engine.checks import Where
from tuneline.engine.plans import plan_run
from tuneline.engine.runfile import read_run_file
from tuneline.stage import installed_stages
from tuneline.store.base import open_store

BIN = Path(sys.executable).parent


@pytest.fixture
def url() -> Iterator[str]:
    with serve(0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
    "num_attention_heads": 1, "num_hidden_layers": 1, "vocab_size": 4096, "max_position_embeddings": 2048,
}  # fmt: skip


def write_base(folder: Path) -> None:
    """Write a base model without weights; a check reads their headers only."""
    write_chat_model(folder)
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(old | CONFIG))
    names = {f"model.layers.0.self_attn.{name}_proj.weight": [8, 8] for name in "qkvo"}
    shapes = names | {"model.embed_tokens.weight": [4096, 8]}
    end, header = 0, dict[str, Any]()
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


class Planner:
    """A run of the examples with models that cost money."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        write_base(folder / "base")
        model = {"provider": "openai", "model": "m", "base_url": url, "input_usd": 1.0, "output_usd": 5.0, **settings}
        self.inputs: dict[str, Any] = {
            "transcripts": str(EXAMPLES / "transcripts"), "rubric": str(EXAMPLES / "rubric.yaml"),
            "personas": str(EXAMPLES / "personas.yaml"), "base_model": "base", "judge": model, "simulator": model,
        }  # fmt: skip
        self.folder, self.file, self.store = folder, folder / "run.yaml", open_store(str(folder / "store"))

    def write(self, **keys: Any) -> None:
        self.file.write_text(yaml.safe_dump({"run": "r", "inputs": self.inputs, **keys}))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [str(BIN / words[0]), *words[1:], "--store", str(self.folder / "store")]
        return subprocess.run(line, cwd=self.folder, capture_output=True, text=True, check=False)

    def assess(self) -> None:
        done = self.command("tuneline-assessor", "run", "--file", "run.yaml")
        assert done.returncode == 0, done.stderr

    def usd(self, stage: str, role: str) -> tuple[float | None, float | None]:
        """Return what is planned for a stage's role, and what of it is left."""
        run_file = read_run_file(self.file, installed_stages())
        done = results_of(self.store, "r") if list(self.store.list("runs/r/")) else {}
        plan = plan_run(run_file, self.store, Where(self.folder / "work", ours=False), done)
        rows = planned(plan, done, ledger_of(self.store, "r", done))
        [row] = [row for row in rows if (row.stage, row.role) == (stage, role)]
        return row.usd, row.left_usd


def test_a_plan_is_within_a_fifth_of_what_the_ledger_says_after_the_run(tmp_path: Path, url: str) -> None:
    run = Planner(tmp_path, url)
    run.write(goal="assessor")
    before = run.command("tuneline", "plan", "run.yaml")
    assert before.returncode == 0, before.stderr
    assert "assessor" in before.stdout and "0 of 47 judgements are in the journal" in before.stdout
    assert not (tmp_path / "store").exists(), "a plan writes nothing"
    told = json.loads(run.command("tuneline", "plan", "run.yaml", "--json").stdout)
    [judge] = told["calls"]
    assert (judge["stage"], judge["role"], judge["calls"]) == ("assessor", "judge", 47) and told["paid_usd"] == 0
    assert judge["usd"] == pytest.approx(run.usd("assessor", "judge")[0]) and told["total"]["left_calls"] == 47
    expected, left = run.usd("assessor", "judge")
    run.assess()
    [row] = ledger_of(run.store, "r", results_of(run.store, "r"))
    assert row.paid.usage.calls == 47 and expected == pytest.approx(left)
    assert expected == pytest.approx(row.paid.usage.cost_usd, rel=0.2)
    assert run.usd("assessor", "judge") == (row.total.cost_usd, 0.0)
    assert "done: assessor" in run.command("tuneline", "plan", "run.yaml").stdout


def test_a_second_plan_says_what_is_left_to_pay_and_measures_what_was_paid(tmp_path: Path, url: str) -> None:
    run = Planner(tmp_path, url)
    run.inputs["transcripts"] = str(EXAMPLES / "transcripts" / "desk")
    run.write(goal="assessor", run="first")
    run.assess()
    run.inputs["transcripts"] = str(EXAMPLES / "transcripts")
    run.write(goal="assessor")
    said = run.command("tuneline", "plan", "run.yaml").stdout
    assert "14 of 47 judgements are in the journal" in said and "as those have" in said
    _, left = run.usd("assessor", "judge")
    run.assess()
    [row] = ledger_of(run.store, "r", results_of(run.store, "r"))
    assert row.paid.usage.calls == 33
    assert left == pytest.approx(row.paid.usage.cost_usd, rel=0.05), "from measured answers it is closer"


def test_a_plan_has_simulator_and_judge_of_the_evaluator_and_weighs_the_limit(tmp_path: Path, url: str) -> None:
    run = Planner(tmp_path, url)
    run.write(max_usd=0.3, evaluator={"turns": 4})
    done = run.command("tuneline", "plan", "run.yaml")
    assert done.returncode == 0, done.stderr
    rows = {tuple(line.split()[:2]): line for line in done.stdout.splitlines()}
    assert f" {32 * (2 * 4 - 1)} " in rows["evaluator", "simulator"] and " 64 " in rows["evaluator", "judge"]
    assert "max_usd: $0.30 is too little" in done.stdout


def test_a_price_that_is_not_known_is_said_and_is_no_0(tmp_path: Path) -> None:
    run = Planner(tmp_path, "http://models.example.com/v1", input_usd=None, output_usd=None)
    run.write(goal="assessor")
    done = run.command("tuneline", "plan", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert "not known" in done.stdout and "give `input_usd` and `output_usd`" in done.stdout
    assert json.dumps(run.usd("assessor", "judge")) == "[null, null]"


def test_a_limit_that_nobody_can_keep_is_refused_by_the_check(tmp_path: Path) -> None:
    run = Planner(tmp_path, "http://models.example.com/v1", input_usd=None, output_usd=None)
    run.write(max_usd=5)
    done = run.command("tuneline", "check", "run.yaml")
    assert done.returncode == 2
    for name in ("judge", "simulator"):
        assert f"inputs.{name}: the price of m is not known, and the run has a limit, `max_usd`" in done.stderr


def test_a_plan_of_a_file_that_is_wrong_says_what_is_wrong(tmp_path: Path, url: str) -> None:
    run = Planner(tmp_path, url)
    run.inputs["rubric"] = {"name": "no criteria"}
    run.write(goal="assessor")
    done = run.command("tuneline", "plan", "run.yaml")
    assert done.returncode == 2 and "rubric" in done.stderr


def write_training(run: Planner, **counts: object) -> None:
    """Put a training into the store, as the record of the assessor's result and with other figures."""
    [made] = (run.folder / "store" / "results" / "assessor").glob("*/manifest.json")
    record = json.loads(made.read_text())
    record["metrics"]["counts"] = {"tokens_per_second": 1000.0, "device": "cuda", "base_parameters": 33_024, **counts}
    place = run.folder / "store" / "results" / "trainer" / f"{counts['base_parameters']:064}" / "manifest.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(record))


@pytest.mark.slow
def test_how_long_training_takes_is_said_with_where_it_comes_from(tmp_path: Path, url: str) -> None:
    run = Planner(tmp_path, url)
    run.write(trainer={"epochs": 2.0})

    def said() -> str:
        done = run.command("tuneline", "plan", "run.yaml")
        assert done.returncode == 0, done.stderr
        [line] = [line for line in done.stdout.splitlines() if "passes over the slices" in line]
        return line

    before = said()
    assert "in 2 passes over the slices (if all 47 transcripts pass, without a system prompt)" in before
    assert "under a minute on an H100, 3.2 times as long on an A100 and 8.2 times as long on an L4: assumed" in before
    assert "from 146 to 413 TFLOP/s, as measured on an H100, and the data sheets of others, at 6 operations" in before
    run.assess()
    assert "(of 25 transcripts that passed, without a system prompt)" in said()
    write_training(run, base_parameters=7)
    assert "no training of such a model has been measured" in said(), "another model tells nothing about this one"
    write_training(run, base_parameters=33_024)
    assert "at 1,000 tokens a second, as the last training of a model of this size in this store had on cuda" in said()
