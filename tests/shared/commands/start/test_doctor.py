"""What `tuneline doctor` says of a machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit.writable_hub import TOKEN, serve_writable_hub
from tuneline.commands.tuneline import app

SECRET = "sk-canary-2"


def doctor(*words: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["doctor", *map(str, words)])
    return found.exit_code, found.output


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the Hub is looked for."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def hub_line(folder: Path) -> tuple[int, str, str]:
    code, said = doctor("--store", folder / "store", "--json")
    rows = json.loads(said[: said.rindex("]") + 1])
    [found] = [row for row in rows if row["what"] == "Hub"]
    return code, found["state"], found["text"]


def test_a_hub_that_knows_the_token_is_fine_and_one_that_is_away_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, state, text = hub_line(tmp_path)
    assert (code, state) == (0, "note") and "http://127.0.0.1:1: the Hub cannot be reached" in text
    assert text.endswith("Only hf:// addresses need it.")
    with serve_writable_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", f"{hub.address}/")
        assert hub_line(tmp_path) == (0, "fine", f"{hub.address} answers and knows your token")
        assert hub.requests == ["GET /api/whoami-v2"]
        hub.fault = lambda _: 503
        code, state, text = hub_line(tmp_path)
        assert (code, state) == (0, "note") and "answers 503" in text


def test_a_token_that_the_hub_refuses_and_a_server_that_is_no_hub_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_writable_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET}")
        code, state, text = hub_line(tmp_path)
        assert (code, state) == (2, "wrong") and "refuses the token (401)" in text and SECRET not in text
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub.garbage = ("whoami", b"<html>Please sign in</html>")
        code, state, text = hub_line(tmp_path)
        assert (code, state) == (2, "wrong") and "the server that answers is not the Hub" in text


def test_without_a_token_the_hub_is_fine_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with serve_writable_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        code, state, text = hub_line(tmp_path)
    assert (code, state) == (0, "fine") and "without HF_TOKEN" in text


def test_each_thing_has_a_line_and_keys_are_named_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", SECRET)
    code, said = doctor("--store", tmp_path, "--json")
    assert code == 0, said
    found = {row["what"]: row for row in json.loads(said)}
    assert [*found] == [
        "stages",
        "machine",
        "disk, scratch",
        "disk, here",
        "GPU",
        "llama-server",
        "keys",
        "Hub",
        "store",
    ]
    assert "slicer" in found["stages"]["text"] and "JUDGE_API_KEY" in found["keys"]["text"] and SECRET not in said
    assert "refuses a second writer" in found["store"]["text"] and not list(tmp_path.rglob("*.json"))


def test_what_stops_runs_ends_with_2_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nexit 9\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "file").write_text("")
    code, said = doctor("--store", tmp_path / "file")
    assert code == 2 and "wrong: GPU, store" in said and "the driver does not work" in said


def test_a_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA L4, 23034 MiB'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    code, said = doctor("--store", tmp_path / "none")
    assert code == 0 and "NVIDIA L4, 23034 MiB" in said and "is not there yet" in said
