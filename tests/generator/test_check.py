"""What can be known before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kit.generating import make, output_of, run_file, serve_writer
from kit.places import EXAMPLES
from tuneline.commands.tuneline import app
from tuneline.parsing.yaml import read_yaml

PENAL = {"prompt": "{instruction}", "top_p": 0.9, "repetition_penalty": 1.1}


def checked(folder: Path, form: str, response: dict[str, Any] | None = None, **writer: str) -> tuple[int, str]:
    recipe = read_yaml(EXAMPLES / "instructions.yaml").content | {"format": form}
    recipe |= {"response": response} if response else {}
    inputs = {"recipe": "recipe.yaml", "writer": {"provider": "openai", "model": "m", **writer}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": "generator@pilot", "inputs": inputs}))
    result = CliRunner().invoke(app, ["check", str(folder / "run.yaml")])
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
def test_a_pilot_that_is_given_is_looked_at_and_parts_that_a_workflow_will_not_make_are_named(tmp_path: Path) -> None:
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
        asked = len(server.calls)
        (tmp_path / "quality.json").write_text(
            (tmp_path / "quality.json").read_text().replace('"refused": []', '"refused": ["lost"]')
        )
        refused = CliRunner().invoke(app, ["check", str(file)])
        assert refused.exit_code == 2 and "run.yaml:" in refused.output and "did not pass" in refused.output
        assert len(server.calls) == asked
