"""What can be known before anything is written."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer.testing import CliRunner

from kit.places import EXAMPLES
from tuneline.commands.tuneline import app
from tuneline.parsing.yaml import read_yaml


def checked(folder: Path, form: str, **writer: str) -> tuple[int, str]:
    recipe = read_yaml(EXAMPLES / "instructions.yaml").content | {"format": form}
    inputs = {"recipe": "recipe.yaml", "writer": {"provider": "openai", "model": "m", **writer}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": "generator@pilot", "inputs": inputs}))
    result = CliRunner().invoke(app, ["check", str(folder / "run.yaml")])
    return result.exit_code, result.output


def test_a_setting_that_the_dialect_cannot_say_is_refused(tmp_path: Path) -> None:
    code, told = checked(tmp_path, "completion", base_url="http://127.0.0.1:9/v1", dialect="openai")
    assert code == 2 and "cannot be said in the dialect `openai`" in told
    assert checked(tmp_path, "completion", base_url="http://127.0.0.1:9/v1", dialect="vllm")[0] == 0


def test_a_setting_that_a_server_of_chats_is_not_told_is_a_warning(tmp_path: Path) -> None:
    code, told = checked(tmp_path, "chat", base_url="http://127.0.0.1:9/v1")
    assert code == 0 and "the writer is not told repetition_penalty" in told
    _, told = checked(tmp_path, "chat", provider="anthropic")
    assert "the writer is not told top_p and repetition_penalty" in told
