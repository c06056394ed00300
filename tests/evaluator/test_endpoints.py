"""The whole stage with arms that are served elsewhere: the real llama-server, and nothing of ours at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kit.evaluator_parts import persona_row
from kit.scripted_openai import Answer, Call, completion, judged, serve_openai
from kit.support import run_stage
from tuneline.commands.check import check
from tuneline.data.conversations import Conversation
from tuneline.engine.pipelines import Address, Inline, plan
from tuneline.model.llama_server import Server, serve
from tuneline.stage import installed_stages
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.stage import STAGE

PARAMS: Mapping[str, Any] = {"turns": 2, "sampler": {"max_answer_tokens": 16}, "exact": True, "threads": 1}


@pytest.fixture
def elsewhere(arms: Mapping[str, Any], tmp_path: Path) -> Iterator[Server]:
    """The fine-tuned file behind a llama-server that knows nothing of us."""
    file, log = arms["model"] / "tuned.gguf", tmp_path / "server.log"
    with serve(file, context_tokens=2048, slots=1, threads=1, log=log, port=0) as server:
        yield server


@pytest.mark.slow
@pytest.mark.xdist_group("evaluator")
def test_a_file_behind_a_server_elsewhere_says_what_it_says_here_and_the_report_says_what_nobody_knows(
    arms: Mapping[str, Any], elsewhere: Server, tmp_path: Path
) -> None:
    here = run_stage(STAGE, tmp_path / "here", inputs=arms, params=PARAMS, run="here")
    unknown = {name: value for name, value in arms.items() if name not in ("model_info", "modelfile")}
    endpoint = {"provider": "openai", "model": "tuned", "base_url": f"{elsewhere.url}/v1"}
    inputs = {**unknown, "model": endpoint}
    there = run_stage(STAGE, tmp_path / "there", inputs=inputs, params=PARAMS, run="there")
    talks = [
        [Conversation.model_validate_json(line) for line in done.paths["conversations"].read_text().splitlines()]
        for done in (here, there)
    ]
    assert [row.messages for row in talks[0]] == [row.messages for row in talks[1]]
    found = Comparison.model_validate_json(there.paths["comparison"].read_text())
    [said] = found.unverified
    assert said.startswith("Of the finetuned arm, tuned at 127.0.0.1:")
    assert all(word in said for word in ("architecture", "parameters", "template", "server", "seed and the sampler"))
    assert (found.unequal, found.arms[1].file, found.arms[0].file) == ([], None, "base.gguf")
    report = there.paths["report"].read_text()
    assert "Not everything could be verified." in report and "not known" in report
    assert "Not everything could be verified." in there.paths["summary"].read_text()
    assert there.paths["modelfile"].read_text().startswith("# No FROM: tuned at 127.0.0.1:")
    [row] = there.manifest.metrics.cost.rows
    assert (row.role, row.model, row.now.calls) == ("answers", "tuned", 12)
    again = run_stage(STAGE, tmp_path / "there", inputs=inputs, params={**PARAMS, "margin": 0.1}, run="again")
    assert again.manifest.metrics.cost.rows[0].now.calls == 0


def test_two_endpoints_need_neither_a_file_nor_a_base_model_and_all_calls_are_counted(
    arms: Mapping[str, Any], tmp_path: Path
) -> None:
    with serve_openai(lambda call: completion(f"I am {call.body['model']}.")) as server:
        both = {
            port: {"provider": "openai", "model": port, "base_url": server.url, "output_usd": 1.0}
            for port in ("base", "model")
        }
        given = {name: arms[name] for name in ("rubric", "judge", "personas")}
        done = run_stage(STAGE, tmp_path, inputs={**given, **both}, params={"turns": 2}, run="both")
    found = Comparison.model_validate_json(done.paths["comparison"].read_text())
    assert [arm.name for arm in found.arms] == [f"{port} at {server.url[7:-3]}" for port in ("base", "model")]
    assert len(found.unverified) == 2
    cost = done.manifest.metrics.cost
    assert [row.now.calls for row in cost.rows] == [12, 12]
    assert cost.now_usd == pytest.approx(24 * 20e-6)


def play(call: Call) -> Answer:
    """Be both arms, the simulator and the judge: one user leaves the role for code to see, one for the judge."""
    if "response_format" in call.body:
        asked = "ROLE" in call.schema["properties"]
        return completion(judged(call, "NO" if asked and "I am Person 4" in call.prompt else "YES"))
    if call.body["model"] != "player":
        return completion("The float of the water tray sticks, " * 4 + f"says {call.body['model']}.")
    person = next(n for n in range(8) if f"Person {n}" in call.prompt)
    strange = person == 2 and "says model." in call.prompt
    return completion("As an AI language model I own no machine." if strange else f"I am Person {person} and it drips.")


@pytest.mark.parametrize("graded", [False, True])
def test_who_leaves_the_role_is_left_out_with_both_arms_and_the_judge_grades_blind_where_it_is_asked(
    arms: Mapping[str, Any], tmp_path: Path, graded: bool
) -> None:
    with serve_openai(play) as server:

        def model(name: str) -> dict[str, Any]:
            return {"provider": "openai", "model": name, "base_url": server.url}

        given = {
            "rubric": arms["rubric"], "personas": {"personas": [persona_row(number) for number in range(8)]},
            "base": model("base"), "model": model("model"), "judge": model("judge"), "simulator": model("player"),
        }  # fmt: skip
        params = {"turns": 2, "grade_simulator": graded}
        done = run_stage(STAGE, tmp_path, inputs=given, params=params, run="roles")
        asked = [call.prompt for call in server.calls if "ROLE" in call.prompt]
    found = Comparison.model_validate_json(done.paths["comparison"].read_text())
    assert found.roles is not None
    left_out = ["person-02/0", "person-04/0"] if graded else ["person-02/0"]
    assert (found.roles.left_out, found.roles.of) == (left_out, 8)
    assert (found.roles.base, found.roles.finetuned) == (int(graded), 1 + graded)
    assert found.base.conversations == found.finetuned.conversations == found.score.personas == 8 - len(left_out)
    assert len(asked) == 16 * graded
    assert not any("person-0" in prompt or "finetuned" in prompt for prompt in asked)
    assert f"{len(left_out)} of 8 personas and trials the simulated user left its role" in " ".join(found.notes)
    assert "In no figure" in done.paths["view"].read_text()


def test_an_arm_that_is_given_needs_no_converter_and_two_need_no_training() -> None:
    stages, endpoint = installed_stages(), Inline({"provider": "openai", "model": "m"})
    given = {"transcripts": Address("/t"), "base_model": Address("/b")}
    names = {step.name for step in plan(stages, {**given, "base": endpoint})}
    assert names == {"assessor", "slicer", "trainer", "gguf-converter", "evaluator"}
    assert {step.name for step in plan(stages, {"base": endpoint, "model": endpoint})} == {"evaluator"}


def test_a_check_asks_the_endpoints_only_online_and_refuses_what_cannot_be_compared(
    arms: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_openai(lambda call: completion("Yes.") if call.path.endswith("completions") else listed) as server:
        body = json.dumps({"data": [{"id": "m", "max_model_len": 900}]}).encode()
        listed = Answer(200, body)
        endpoint = {"provider": "openai", "model": "m", "base_url": server.url}
        inputs = {"base": endpoint, "model": endpoint, "rubric": arms["rubric"], "judge": arms["judge"]}
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump({"run": "r", "inputs": {**inputs, "personas": arms["personas"]}}))
        check(file, None, online=False)
        assert server.calls == []
        with pytest.raises(typer.Exit):
            check(file, None, online=True)
    told = capsys.readouterr()
    assert "run.yaml:" in told.err and "m at 127.0.0.1" in told.err
    assert "a context of 900 tokens, and the arms are to have 8,192" in told.err
