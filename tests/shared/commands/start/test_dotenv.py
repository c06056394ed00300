"""Keys in a file `.env`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuneline.commands.start.dotenv import LARGEST, read_env
from tuneline.errors import UserError

SECRET = "sk-canary-1"


def read(folder: Path, text: str, **environ: str) -> dict[str, str]:
    (folder / ".env").write_text(text)
    read_env(folder / ".env", environ)
    return environ


def test_forms_that_people_write_are_read(tmp_path: Path) -> None:
    text = f"# keys\n\nexport OPENAI_API_KEY={SECRET} # mine\nHF_TOKEN = 'a#b'\n"
    text += 'JUDGE_API_KEY="x \\"y\\" $HOME"\r\nA_KEY=\n'
    assert read(tmp_path, text) == {
        "OPENAI_API_KEY": SECRET,
        "HF_TOKEN": "a#b",
        "JUDGE_API_KEY": 'x "y" $HOME',
        "A_KEY": "",
    }


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    assert read(tmp_path, "HF_TOKEN=new", HF_TOKEN="old") == {"HF_TOKEN": "old"}


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PYTHONPATH", "PATH", "HTTPS_PROXY", "AWS_ENDPOINT_URL", "OPENAI_BASE_URL"]
)
def test_a_folder_of_somebody_else_decides_neither_what_runs_nor_where_keys_go(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"{name}=/evil\n") == {}


OTHER_FORMS = [
    f"A_KEY: {SECRET}\n", f"A_KEY {SECRET}\n", f"set A_KEY={SECRET}\n", f"$env:A_KEY = '{SECRET}'\n",
]  # fmt: skip


@pytest.mark.parametrize(
    "text", [f"A_KEY='{SECRET}\n", f'A_KEY="{SECRET}\nmore"\n', f"A_KEY={SECRET}\0\n", *OTHER_FORMS]
)
def test_a_key_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"\.env:1: A_KEY: a line is NAME=value") as refused:
        read(tmp_path, text)
    assert SECRET not in str(refused.value)


def test_lines_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    text = f'{SECRET}\nA-KEY={SECRET}\nCERT="-----BEGIN\nabc\n"\n[section]\nset -a\nHF_TOKEN=x\n'
    assert read(tmp_path, text) == {"HF_TOKEN": "x"}


def test_a_file_that_is_no_such_thing_is_refused_or_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_env(tmp_path / ".env", {})
    with pytest.raises(UserError, match="longer than"):
        read(tmp_path, "#" * (LARGEST + 1))
    for place in (tmp_path, tmp_path / "absent"):
        read_env(place, {})


def test_the_command_takes_it_and_never_prints_a_value(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"TUNELINE_STORE=there\nHF_TOKEN={SECRET}\nOTHER={SECRET}\n")
    environ = {name: value for name, value in os.environ.items() if name != "TUNELINE_STORE"}
    program = Path(sys.executable).parent / "tuneline"
    found = subprocess.run(
        [program, "show", "r"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2 and "/there; it has no runs" in found.stderr
    assert SECRET not in found.stdout + found.stderr and "OTHER" not in found.stderr
