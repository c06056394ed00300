"""Text that others wrote, in messages: it never breaks a line and never reaches a terminal as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
import yaml

from kit.judge_parts import RUBRIC, write_transcripts
from kit.support import run_stage
from kit.toys import CounterInputs, CounterOutputs, CounterParams
from kit.workflow_parameters import as_parameters
from tuneline.commands.show import run_lines
from tuneline.commands.stage import configure_logging
from tuneline.parsing.problems import printable
from tuneline.stage import Context, Metrics, Stage
from tuneline.store.base import key_problem, open_store

FORGED = "x\nlevel=error event=forged \x1b[31m\x9b1m\u202eevil\u2028"
UNSEEN = set("\n\x1b\x9b\u202e\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Tôi 你好 – fine", "Tôi 你好 – fine"),
        ("a\nb\x1b[0m", "a\\nb\\x1b[0m"),
        ("\x9b\u202e\u2028\ud800", "\\x9b\\u202e\\u2028\\ud800"),
        ("x" * 5000, "x" * 4000 + "…"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def refused(folder: Path, content: dict[str, object]) -> str:
    """What the assessor says about a request that it refuses, as a pod and as a program with a run file."""
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    said = ""
    for words, environ in ([], {"RUN_FILE": as_parameters(yaml.safe_dump(content))}), (["--file", "run.yaml"], {}):
        command = [str(Path(sys.executable).parent / "tuneline-assessor"), "run", "--store", "store", *words]
        done = subprocess.run(
            command,
            env=os.environ | environ | {"WORKFLOW": "w"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        said += done.stderr
    return said


@pytest.mark.parametrize("place", ["key", "input", "parameter", "file"])
def test_names_that_others_chose_forge_no_line_and_steer_no_terminal(tmp_path: Path, place: str) -> None:
    transcripts = tmp_path / "t"
    transcripts.mkdir()
    write_transcripts(transcripts / "t.jsonl", 2)
    inputs: dict[str, object] = {"transcripts": str(transcripts), "rubric": RUBRIC, "judge": {"provider": "heuristic"}}
    content: dict[str, object] = {"goal": "assessor", "inputs": inputs}
    match place:
        case "key":
            content[FORGED] = 1
        case "input":
            inputs[FORGED] = "x"
        case "parameter":
            content["assessor"] = {FORGED: 1}
        case _:
            (transcripts / f"{FORGED.replace('/', '')}.jsonl").write_text("{}\n")
    said = refused(tmp_path, content)
    assert "x\\nlevel=error event=forged \\x1b[31m\\x9b1m\\u202eevil" in said
    assert not any(line.startswith("level=error") for line in said.splitlines())
    assert not (UNSEEN - {"\n"}) & set(said)


def boast(params: CounterParams, inputs: CounterInputs, outputs: CounterOutputs, context: Context) -> Metrics:
    outputs.counts.write_text("")
    (outputs.pages / "page").write_text("")
    return Metrics(headline=FORGED)


def test_what_a_result_says_of_itself_is_shown_in_one_line(tmp_path: Path) -> None:
    stage = Stage("counter", 1, CounterParams, CounterInputs, CounterOutputs, boast)
    run_stage(stage, tmp_path, inputs={"words": ["one"]})
    lines = list(run_lines(open_store(str(tmp_path / "store")), "test"))
    assert printable(f"  {FORGED}") in lines
    assert not UNSEEN & set("".join(lines))


def test_what_is_logged_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    configure_logging()
    structlog.get_logger().warning("not scored", transcript=FORGED, path=Path(FORGED))
    structlog.configure(**before)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not (UNSEEN - {"\n"}) & set(said)


@pytest.mark.parametrize("name", ["a\x9bb", "a\u202eb", "a\u2028b", "a\x85b"])
def test_a_store_takes_no_name_that_cannot_be_shown(name: str) -> None:
    assert key_problem(name) and not UNSEEN & set(key_problem(name) or "")
    assert key_problem("é 你好 👩‍🚀") is None
