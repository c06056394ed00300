"""What `tuneline doctor` says of a machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tuneline.commands.tuneline import app

SECRET = "sk-canary-2"


def doctor(*words: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["doctor", *map(str, words)])
    return found.exit_code, found.output


def test_each_thing_has_a_line_and_keys_are_named_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", SECRET)
    code, said = doctor("--store", tmp_path, "--json")
    assert code == 0, said
    found = {row["what"]: row for row in json.loads(said)}
    assert [*found] == ["stages", "machine", "disk, scratch", "disk, here", "GPU", "llama-server", "keys", "store"]
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
