"""The program `tuneline` under Ctrl-C while it is still being loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib

import pytest

from kit.places import ROOT

PROGRAM = """
import builtins, os, signal, sys
sys.argv[1:] = ["check", "nothing.yaml"]
signal.signal(signal.SIGINT, signal.{handler})
plain = builtins.__import__
def interrupted(name, *rest):
    if name == "{module}":
        builtins.__import__ = plain
        os.kill(os.getpid(), signal.SIGINT)
    return plain(name, *rest)
builtins.__import__ = interrupted
from tuneline.commands.program import main
main()
"""


def interrupted_at(module: str, handler: str = "default_int_handler") -> subprocess.CompletedProcess[str]:
    """Run `tuneline check` of a file that is not there, and send SIGINT when it imports `module`."""
    words = [sys.executable, "-c", PROGRAM.format(module=module, handler=handler)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module", ["tuneline.commands.tuneline", "typer", "tuneline.commands.start.dotenv", "tuneline.engine.checks"]
)
def test_ctrl_c_ends_it_quietly_however_early_it_comes(module: str) -> None:
    ended = interrupted_at(module)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "")


def test_a_job_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    ended = interrupted_at("typer", "SIG_IGN")
    assert ended.returncode == 2 and "nothing.yaml" in ended.stderr


def test_the_installed_program_is_this_one() -> None:
    project = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"tuneline": "tuneline.commands.program:main"}
