"""Files to begin with: what `tuneline init` writes is whole, passes the check, and overwrites nothing."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit import mixed_logs
from kit.places import EXAMPLES, ROOT
from tuneline.commands.start.init import STARTER
from tuneline.commands.tuneline import app
from tuneline.data.personas import load_personas
from tuneline.data.rubric import load_rubric
from tuneline.data.transcripts import read_transcripts
from tuneline.engine.pipelines import Address
from tuneline.engine.runfile import RunFile, read_run_file
from tuneline.stage import installed_stages

FORMS = ["openai", "developer", "sharegpt", "claude", "chatgpt", "gemini", "anthropic_log", "langfuse", "langsmith"]


def tuneline(*words: str | Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, list(map(str, words)))
    return found.exit_code, found.output


def written(folder: Path) -> RunFile:
    return read_run_file(folder / "run.yaml", installed_stages())


def test_what_it_writes_is_accepted_by_whoever_reads_it(tmp_path: Path) -> None:
    code, said = tuneline("init", tmp_path / "Town Library!")
    assert code == 0 and "tuneline check" in said
    folder = tmp_path / "Town Library!"
    run_file = written(folder)
    assert run_file.run == "town-library" and run_file.store == str(folder / "tuneline-store")
    assert [step.name for step in run_file.steps][-1] == "evaluator"
    assert len(read_transcripts(folder / "conversations.jsonl").transcripts) == 11
    rubric, personas = load_rubric(folder / "rubric.yaml"), load_personas(folder / "personas.yaml")
    assert all(criterion.heuristic for criterion in rubric.criteria) and len(personas) == 8
    assert all(len(persona.script) >= 3 for persona in personas)


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, said = tuneline("init", tmp_path / "file")
    assert (code, said) == (2, f"{tmp_path}/file: File exists.\n")


def test_it_passes_the_check_with_a_model_that_is_there(tmp_path: Path, tiny_base: Path) -> None:
    assert tuneline("init", tmp_path / "a", "--base-model", tiny_base)[0] == 0
    code, said = tuneline("check", tmp_path / "a" / "run.yaml")
    assert code == 0, said
    assert "nothing is wrong" in said


def test_it_looks_at_conversations_that_are_given(tmp_path: Path) -> None:
    code, said = tuneline("init", tmp_path / "b", "--from", EXAMPLES / "transcripts")
    assert code == 0 and "conversations.jsonl" not in said
    text = (tmp_path / "b" / "run.yaml").read_text()
    assert "# 47 conversations of 4 to 6 exchanges" in text and not (tmp_path / "b" / "conversations.jsonl").exists()
    given = written(tmp_path / "b").inputs["transcripts"]
    assert isinstance(given, Address) and Path(given.uri).resolve() == EXAMPLES / "transcripts"


def test_conversations_that_cannot_be_read_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{")
    code, said = tuneline("init", tmp_path / "c", "--from", tmp_path / "bad.jsonl")
    assert code == 2 and "bad.jsonl" in said and not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["my_library", "v1.2", "2026", "1e3", "null", "No", "a" * 80 + "-x", "-", "ßü", "_x_"])
def test_a_folder_of_any_name_gives_a_run_file_that_is_accepted(tmp_path: Path, name: str) -> None:
    assert tuneline("init", tmp_path / name)[0] == 0
    run_file = written(tmp_path / name)
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", run_file.run)
    code, said = tuneline("check", tmp_path / name / "run.yaml", "--set", f"inputs.base_model={tmp_path / 'none'}")
    assert code == 2 and "finetune" not in said and "none does not exist" in said


@pytest.mark.parametrize("form", FORMS)
def test_logs_of_others_are_taken_as_they_are(tmp_path: Path, form: str) -> None:
    rng = random.Random(1)
    rows = [getattr(mixed_logs, form)(f"t{n}", mixed_logs.talk(n, rng)) for n in range(12)]
    (tmp_path / "logs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, said = tuneline("init", tmp_path / "d", "--from", tmp_path / "logs.jsonl")
    assert code == 0, said
    assert "# 12 conversations of 2 to" in (tmp_path / "d" / "run.yaml").read_text().replace("of 3 to", "of 2 to")


def test_a_few_that_cannot_be_used_are_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    mixed_logs.write_mixed_logs(tmp_path / "logs", 80)
    code, said = tuneline("init", tmp_path / "d", "--from", tmp_path / "logs")
    assert code == 0 and "Some conversations cannot be used" in said
    assert written(tmp_path / "d").steps
    assert re.search(
        r"^assessor:\n  tools: drop .*\n  on_bad: skip .*# \d+ more that",
        (tmp_path / "d" / "run.yaml").read_text(),
        re.M,
    )


@pytest.mark.parametrize("name", ["run.yaml", "prompt.txt"])
def test_it_writes_over_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    code, said = tuneline("init", tmp_path)
    assert code == 2 and f"has {name} already" in said
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["a: b.jsonl", "$run.jsonl", 'quo"te.jsonl', "# no.jsonl", "a:", "null", "1e3"])
def test_a_name_with_any_character_stays_one_value(tmp_path: Path, name: str) -> None:
    row = json.loads((STARTER / "conversations.jsonl").read_text().splitlines()[0])
    (tmp_path / name).write_text(json.dumps(row))
    assert tuneline("init", tmp_path / "d", "--from", tmp_path / name)[0] == 0
    given = written(tmp_path / "d").inputs["transcripts"]
    assert isinstance(given, Address) and Path(given.uri).resolve() == tmp_path / name


def test_the_starter_comes_with_an_installed_package() -> None:
    listed = subprocess.run(["git", "ls-files", STARTER], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {Path(line).name for line in listed.splitlines()} == {path.name for path in STARTER.iterdir()}


def test_a_chat_between_people_is_taken_when_it_is_said_who_answers(tmp_path: Path) -> None:
    said = [("Ann", "It hums"), ("Shop", "Which one?"), ("Ann", "The red one"), ("Shop", "Change it")]
    chats = [{"id": n, "messages": [{"from": who, "text": f"{n} {what}"} for who, what in said]} for n in range(8)]
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    code, told = tuneline("init", tmp_path / "d", "--from", tmp_path / "chats.json")
    assert code == 2 and "answered_by" in told and not (tmp_path / "d").exists()
    code, told = tuneline("init", tmp_path / "d", "--from", tmp_path / "chats.json", "--answered-by", "Shop")
    assert code == 0, told
    assert 'answered_by: ["Shop"]' in (tmp_path / "d" / "run.yaml").read_text()
    assert "assessor: 8 transcripts" in tuneline("check", tmp_path / "d" / "run.yaml")[1]


def test_many_that_cannot_be_used_and_calls_of_tools_are_left_out_and_said(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]}
    rows = [
        {"id": n, "messages": [{"role": "user", "content": f"{n}?"}, call, {"role": "assistant", "content": "Yes."}]}
        for n in range(90)
    ]
    pictures = [{"id": f"p{n}", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]} for n in range(9)]
    (tmp_path / "logs.jsonl").write_text("\n".join(map(json.dumps, [*rows, *pictures])))
    code, told = tuneline("init", tmp_path / "d", "--from", tmp_path / "logs.jsonl")
    assert code == 0 and "Some conversations cannot be used" in told
    text = (tmp_path / "d" / "run.yaml").read_text()
    assert "  tools: drop" in text and "  max_bad: 9" in text
    assert "assessor: 90 transcripts, 9 left out" in tuneline("check", tmp_path / "d" / "run.yaml")[1]
