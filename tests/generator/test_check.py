"""What can be known before anything is written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kit.generating import make, output_of, run_file, serve_writer
from kit.places import EXAMPLES
from kit.scripted_openai import Answer, Call, completion, serve_openai
from kit.text_servers import choice
from tuneline.commands.tuneline import app
from tuneline.parsing.yaml import read_yaml

TEXTS = {"provider": "openai", "model": "b", "dialect": "vllm"}
PENAL = {"prompt": "{instruction}", "top_p": 0.9, "repetition_penalty": 1.1}


def checked(
    folder: Path, form: str, response: dict[str, Any] | None = None, *, inputs: dict[str, Any] | None = None,
    online: bool = False, goal: str = "generator@pilot", **writer: str,
) -> tuple[int, str]:  # fmt: skip
    recipe = read_yaml(EXAMPLES / "instructions.yaml").content | {"format": form}
    recipe |= {"response": response} if response else {}
    given = {"recipe": "recipe.yaml", "writer": {"provider": "openai", "model": "m", **writer}, **(inputs or {})}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": goal, "inputs": given}))
    result = CliRunner().invoke(app, ["check", *["--online"] * online, str(folder / "run.yaml")])
    return result.exit_code, result.output


@pytest.mark.parametrize("name", ["documents", "conversations"])
@pytest.mark.parametrize("goal", ["generator@pilot", "generator"])
def test_the_run_files_of_examples_have_nothing_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, goal: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("talks", "transcripts"))
    file = tmp_path / "examples" / f"{name}.yaml"
    file.write_text(file.read_text().replace("goal: generator@pilot", f"goal: {goal}"))
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0 and "nothing is wrong" in result.output, result.output


def test_a_setting_that_the_dialect_cannot_say_is_refused(tmp_path: Path) -> None:
    code, told = checked(tmp_path, "completion", base_url="http://127.0.0.1:9/v1", dialect="openai")
    assert code == 2 and "cannot be said in the dialect `openai`" in told
    assert checked(tmp_path, "completion", base_url="http://127.0.0.1:9/v1", dialect="vllm")[0] == 0


def test_a_setting_that_a_server_of_chats_is_not_told_is_a_warning(tmp_path: Path) -> None:
    code, told = checked(tmp_path, "chat", PENAL, base_url="http://127.0.0.1:9/v1")
    assert code == 0 and "the writer is not told repetition_penalty" in told
    _, told = checked(tmp_path, "chat", PENAL, provider="anthropic")
    assert "the writer is not told top_p and repetition_penalty" in told
    assert "is not told" not in checked(tmp_path, "chat", provider="anthropic")[1], "the usual prompts set neither"


@pytest.mark.slow
def test_a_pilot_that_is_given_is_looked_at_and_parts_that_a_workflow_will_not_make_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, given = tmp_path / "store", {"pilot": "quality.json", "pilot_prompts": "prompts.jsonl"}
    with serve_writer() as server:
        pilot = make(run_file(tmp_path, server.url), store, pilot=True)
        assert pilot
        for port in given.values():
            (tmp_path / port).write_bytes(output_of(store, pilot, port.partition(".")[0]))
        file = run_file(tmp_path, server.url, inputs=given)
        fine = CliRunner().invoke(app, ["check", str(file)])
        assert fine.exit_code == 0 and "33 items" in fine.output and "in one pod" not in fine.output
        many = CliRunner().invoke(app, ["check", str(run_file(tmp_path, server.url, inputs=given, part_minutes=1e-9))])
        assert many.exit_code == 0 and "100 parts" in many.output and "leave `pilot`" in many.output
        with monkeypatch.context() as image:  # the image that checks for all stages
            image.setitem(sys.modules, "scipy.stats", None)
            there = CliRunner().invoke(app, ["check", str(file)])
            assert there.exit_code == 0 and "as the given pilot found it: 33 items" in there.output
            more = run_file(tmp_path, server.url, inputs=given, count=3000, max_hours=1e-9)
            there = CliRunner().invoke(app, ["check", str(more)])
            assert there.exit_code == 2 and "max_hours: 3,300 items" in there.output
        half = run_file(tmp_path, server.url, inputs={"pilot": given["pilot"]})
        for words in (["check", str(half)], ["run", str(half), "--store", str(tmp_path / "other")]):
            paid_again = CliRunner().invoke(app, words)
            assert paid_again.exit_code == 2, paid_again.output
            assert "run.yaml:" in paid_again.output and "written and paid once more" in paid_again.output
        asked = len(server.calls)
        (tmp_path / "quality.json").write_text(
            (tmp_path / "quality.json").read_text().replace('"refused": []', '"refused": ["lost"]')
        )
        refused = CliRunner().invoke(app, ["check", str(file)])
        assert refused.exit_code == 2 and "run.yaml:" in refused.output and "did not pass" in refused.output
        assert len(server.calls) == asked


def test_key_and_price_of_the_writer_and_of_a_critics_server_are_looked_at_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, told = checked(tmp_path, "chat")
    assert code == 2 and "run.yaml:" in told and "inputs.writer: OPENAI_API_KEY is not set" in told
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    code, told = checked(tmp_path, "chat")
    assert code == 0 and "generator.max_usd: the price of m is not known, so $10.00 is no limit" in told
    assert "is no limit" not in checked(tmp_path, "chat", model="gpt-5-mini")[1]
    critic = {
        "provider": "logprob",
        "server": TEXTS | {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "CRITIC_API_KEY"},
    }
    told = checked(tmp_path, "chat", inputs={"critic": critic})[1]
    assert "inputs.critic: CRITIC_API_KEY is not set" in told
    assert "lists no probabilities" in checked(tmp_path, "chat", inputs={"critic": {"provider": "logprob"}})[1]


def test_online_asks_writer_and_critic_one_question_each(tmp_path: Path) -> None:
    def said(call: Call) -> Answer:
        if "messages" in call.body:
            return completion(answers.get("chat", "A pear."))
        return choice(" yes", top={" yes": -0.1, " no": -2.5} if answers.get("top", True) else None)

    answers: dict[str, Any] = {}
    with serve_openai(said) as server:
        critic = {
            "provider": "logprob",
            "server": TEXTS | {"base_url": server.url},
        }
        given: dict[str, Any] = {"inputs": {"critic": critic}, "base_url": server.url}
        assert checked(tmp_path, "chat", **given)[0] == 0 and not server.calls
        code, told = checked(tmp_path, "chat", online=True, **given)
        assert code == 0 and "generator: the writer m answers" in told and "the critic b goes on with texts" in told
        answers["top"] = False
        code, told = checked(tmp_path, "chat", online=True, **given)
        assert code == 2 and "inputs.critic: model b at" in told and "lists no log-probabilities" in told
        answers["chat"] = " "
        code, told = checked(tmp_path, "chat", online=True, **given)
        assert code == 2 and "inputs.writer: m was asked one question and says nothing" in told


@pytest.mark.parametrize(("goal", "helped"), [("assessor", True), ("generator@pilot", False)])
def test_who_has_a_recipe_and_no_transcripts_is_told_how_the_generator_gets_into_the_run(
    tmp_path: Path, goal: str, helped: bool
) -> None:
    _, told = checked(tmp_path, "chat", goal=goal, base_url="http://127.0.0.1:9/v1")
    assert ("makes it: `transcripts: output:generator/transcripts`" in told) is helped
    assert "makes it: `rubric" not in told


@pytest.mark.parametrize(("goal", "refused"), [("evaluator", True), ("assessor", False)])
def test_one_run_does_not_learn_from_the_personas_that_it_compares_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, goal: str, refused: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    file = tmp_path / "run.yaml"
    text = (EXAMPLES / "conversations.yaml").read_text().replace("goal: generator@pilot", f"goal: {goal}")
    (tmp_path / "rubric.yaml").write_text((EXAMPLES / "rubric.yaml").read_text())
    (tmp_path / "personas.yaml").write_text((EXAMPLES / "personas.yaml").read_text())
    file.write_text(text)
    told = CliRunner().invoke(app, ["check", str(file)]).output
    assert ("inputs.personas: conversations to learn from and comparison would have the same" in told) is refused, told


def test_a_writer_that_is_served_here_needs_a_file_that_is_given_or_made(tmp_path: Path) -> None:
    code, told = checked(tmp_path, "chat", inputs={"writer": {"provider": "llama-server"}})
    assert code == 2 and "`llama-server` serves the input `writer_model`; give it" in told
    made = {"writer": {"provider": "llama-server"}, "writer_model": "output:gguf-converter@base/model"}
    assert "give it" not in checked(tmp_path, "chat", inputs=made)[1]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_a_writer_that_is_talked_with_is_told_the_format_of_its_recipe(tmp_path: Path, provider: str) -> None:
    code, told = checked(tmp_path, "completion", provider=provider)
    assert code == 2 and "inputs.writer.provider: " in told and "write `format: chat` in the recipe" in told
    assert "dialect: is required" not in told


def test_a_recipe_with_mistakes_hides_none_of_its_writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    recipe = {"kind": "documents", "categories": ["nursing"], "traits": "honest"}
    given = {"recipe": recipe, "writer": {"provider": "anthropic", "model": "m"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": "generator", "inputs": given}))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
    assert result.exit_code == 2 and "inputs.writer: ANTHROPIC_API_KEY is not set" in result.output
    assert "inputs.recipe.categories.0: input should be a mapping, as in `{name: …, about: …}`" in result.output
    assert "inputs.recipe.traits: input should be a list" in result.output


@pytest.mark.parametrize("given", ["high", 1000, [1]])
def test_a_value_that_is_of_no_kind_that_it_may_be_is_said_in_one_line_at_its_name(
    tmp_path: Path, given: object
) -> None:
    checked(tmp_path, "completion", base_url="http://127.0.0.1:9/v1", dialect="vllm")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"generator": {"min_margin": given}}))
    result = CliRunner().invoke(app, ["check", str(file)])
    [line] = [line for line in result.output.splitlines() if "min_margin" in line]
    assert (
        result.exit_code == 2
        and "generator.min_margin: input should be " in line
        and "; or input should be 'auto'" in line
    )


def test_what_a_critics_server_lacks_is_named_by_the_keys_that_were_written(tmp_path: Path) -> None:
    critic = {"provider": "logprob", "server": {"provider": "openai", "dialect": "vllm", "modl": "m"}}
    told = checked(tmp_path, "completion", inputs={"critic": critic}, base_url="http://127.0.0.1:9/v1", dialect="vllm")[
        1
    ]
    assert "inputs.critic.server.model: is required" in told
    assert "inputs.critic.server.modl: unknown key; did you mean `model`?" in told
