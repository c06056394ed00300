"""What is planned for simulator and judge, and what conversations of that length take on a server that bills."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

import pytest
import yaml

from kit.judge_parts import live
from kit.places import EXAMPLES
from priced_server import serve
from tuneline.data.conversations import Said
from tuneline.data.judged import write_judged
from tuneline.data.personas import load_personas
from tuneline.data.transcripts import read_transcripts
from tuneline.engine.checks import Findings, StageChecks, Where
from tuneline.engine.layout import Node
from tuneline.engine.pipelines import Step
from tuneline.engine.plans import StagePlans
from tuneline.engine.runfile import read_run_file
from tuneline.judge.simulators.simulator import load_simulator, open_simulator
from tuneline.stage import Forecast, installed_stages
from tuneline.store.base import open_store
from tuneline_evaluator.stage import STAGE, EvaluatorParams

TURNS = 5
ANSWER = "Please check the seal of the water tank first, then fill it again. Does it still drip when it is full? "
"""About as long as the answers in the transcripts."""

HOSTED = {
    "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "input_usd": 1.0, "output_usd": 1.0
}  # fmt: skip


def planned(folder: Path, inputs: Mapping[str, Path], params: EvaluatorParams) -> list[Forecast]:
    (folder / "run.yaml").write_text("run: r\ngoal: assessor\n")
    run_file = read_run_file(folder / "run.yaml", installed_stages())
    step = Step(Node("evaluator"), STAGE)
    seen = folder / "previews" / "assessor" / "transcripts"
    seen.parent.mkdir(parents=True, exist_ok=True)
    write_judged(seen, read_transcripts(EXAMPLES / "transcripts").transcripts)
    checks = StageChecks(run_file, step, inputs, Where(folder), Findings(), open_store(str(folder / "store")))
    plans = StagePlans(checks, step, open_store(str(folder / "store")), folder / "made", {})
    assert STAGE.plan is not None
    return list(STAGE.plan(params, plans))


def test_a_simulator_is_planned_within_a_fifth_of_what_it_bills(tmp_path: Path) -> None:
    with serve(0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        (tmp_path / "simulator.yaml").write_text(yaml.safe_dump(HOSTED | {"base_url": url, "output_usd": 5.0}))
        (tmp_path / "personas.yaml").write_text((EXAMPLES / "personas.yaml").read_text())
        inputs = {name: tmp_path / f"{name}.yaml" for name in ("simulator", "personas")}
        [forecast] = planned(tmp_path, inputs, EvaluatorParams(turns=TURNS))
        personas = load_personas(tmp_path / "personas.yaml")
        with (
            live(tmp_path) as context,
            open_simulator(load_simulator(tmp_path / "simulator.yaml"), context, timeout_s=30, concurrency=4) as played,
        ):
            for persona in personas:
                for arm in ("base", "finetuned"):
                    said: list[Said] = []
                    for turn in range(TURNS):
                        said.append(Said(role="user", content=played.speak(persona, turn, said)))
                        said.append(Said(role="assistant", content=f"{ANSWER}{arm}"))
            [paid] = played.cost([]).rows
        server.shutdown()
    assert forecast.total.calls == paid.now.calls == len(personas) * (2 * TURNS - 1)
    assert forecast.total.cost_usd == pytest.approx(paid.now.cost_usd, rel=0.2)


def test_a_preference_on_prompts_is_planned_as_two_calls_for_each(tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text(yaml.safe_dump(HOSTED))
    inputs = {
        "prompts": EXAMPLES / "prompts.jsonl",
        "rubric": EXAMPLES / "rubric.yaml",
        "judge": tmp_path / "judge.yaml",
    }
    rubric, preference = planned(tmp_path, inputs, EvaluatorParams())
    assert (rubric.role, rubric.total.calls, preference.role, preference.total.calls) == ("judge", 80, "preference", 80)
    assert [row.role for row in planned(tmp_path, inputs, EvaluatorParams(preference=False))] == ["judge"]


def test_of_recorded_arms_the_trials_count_that_are_there_and_nobody_talks_again(tmp_path: Path) -> None:
    """Two of three personas came twice; who is in one arm only has nothing to be compared with, and is judged, too."""
    for name in ("judge", "simulator"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(HOSTED))
    for arm, words in (("base", 5), ("tuned", 200)):
        said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day. " * words}]
        rows = [{"id": name, "messages": said} for name in ("ann/0", "ann/1", "bob/0", "bob/1", "cleo")]
        (tmp_path / f"{arm}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = {
        "base": tmp_path / "base.jsonl", "model": tmp_path / "tuned.jsonl", "rubric": EXAMPLES / "rubric.yaml",
        "judge": tmp_path / "judge.yaml", "simulator": tmp_path / "simulator.yaml",
    }  # fmt: skip
    [both] = planned(tmp_path, inputs, EvaluatorParams(trials=1, preference=False))
    assert (both.role, both.total.calls) == ("judge", 10)
    longer = planned(tmp_path, inputs | {"base": tmp_path / "tuned.jsonl"}, EvaluatorParams(preference=False))
    assert longer[0].total.input_tokens - both.total.input_tokens > 5 * 195 * 2
    (tmp_path / "personas.yaml").write_text((EXAMPLES / "personas.yaml").read_text())
    one_talks = {name: path for name, path in inputs.items() if name != "model"}
    names = len(load_personas(tmp_path / "personas.yaml"))
    params = EvaluatorParams(turns=TURNS, trials=2, preference=False)
    simulated, judged = planned(tmp_path, one_talks | {"personas": tmp_path / "personas.yaml"}, params)
    assert (simulated.role, simulated.total.calls) == ("simulator", names * TURNS * 2)
    assert judged.total.calls == names * 2, "the conversations of strangers are judged, or one arm's twice"
