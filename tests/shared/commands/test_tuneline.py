"""The command line itself: how fast it starts, and what it says of itself."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tuneline
from tuneline.commands.tuneline import app

HEAVY = {
    "pydantic",
    "structlog",
    "boto3",
    "botocore",
    "huggingface_hub",
    "yaml",
    "torch",
    "numpy",
    "httpx",
    "asyncio",
    "rich",
}


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_imports_nothing_that_takes_time(words: list[str]) -> None:
    script = f"import sys\nsys.argv[1:] = {words}\nfrom tuneline.commands.tuneline import main\n"
    script += "try:\n    main()\nfinally:\n    print('modules', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = set(said.rpartition("modules")[2].split())
    assert loaded & HEAVY == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("tuneline.")}
    assert rooms == {"errors", "parsing", "commands"}


def cpu_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_no_more_of_a_processor_than_a_few_imports_do() -> None:
    """It is about 10 times what Python takes for nothing; pydantic alone would add 7, help in boxes 10."""
    program = str(Path(sys.executable).parent / "tuneline")
    ours = min(cpu_seconds(program, "--help") for _ in range(4))
    nothing = min(cpu_seconds(sys.executable, "-c", "pass") for _ in range(4))
    assert ours / nothing < 15, (ours, nothing)


def test_it_says_its_version_and_takes_the_short_form_of_help() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output == f"tuneline {tuneline.__version__}\n"
    for words in (["-h"], ["gc", "-h"], ["status", "-h"]):
        found = runner.invoke(app, words)
        assert found.exit_code == 0 and "Usage: " in found.output


@pytest.mark.parametrize("words", [["-h"], ["personas", "-h"]])
def test_the_list_of_commands_says_all_of_what_each_does(words: list[str]) -> None:
    said = CliRunner().invoke(app, words).output
    assert "..." not in said.partition("Commands:")[2] and said.endswith(".\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str, tmp_path: Path) -> None:
    environ = {"_TUNELINE_COMPLETE": f"complete_{shell}", "HOME": str(tmp_path)}
    environ |= {"COMP_WORDS": "tuneline judge", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "tuneline judge"}
    environ |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_WORD_TO_COMPLETE": "judge"}
    program = Path(sys.executable).parent / "tuneline"
    said = subprocess.run([program], env=environ, capture_output=True, text=True, check=True).stdout
    assert "judge-check" in said
