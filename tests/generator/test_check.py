"""What can be known before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

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
