"""`tuneline personas`: drafts from one's own transcripts, and personas that are held out from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kit.evaluator_parts import persona_row
from kit.places import EXAMPLES
from tuneline.commands.drafts import draft, refuse_learnt
from tuneline.commands.start.init import STARTER
from tuneline.commands.tuneline import app
from tuneline.data.personas import load_personas
from tuneline.errors import UserError


def write(folder: Path, said: list[list[str]], persona: str | None = None) -> Path:
    path = folder / "talks.jsonl"
    rows = [
        {"id": f"t{number}", "messages": [
            message for text in one
            for message in ({"role": "user", "content": text}, {"role": "assistant", "content": "I see."})
        ], **({"persona": persona} if persona else {})}
        for number, one in enumerate(said)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_draft_is_a_persona_file_that_a_run_takes(tmp_path: Path) -> None:
    drafted = CliRunner().invoke(app, ["personas", "draft", str(EXAMPLES / "transcripts"), "--count", "20"])
    assert drafted.exit_code == 0, drafted.output
    file = tmp_path / "personas.yaml"
    file.write_text(drafted.stdout)
    assert len(load_personas(file)) == 20
    checked = CliRunner().invoke(app, ["personas", "check", str(file), str(EXAMPLES / "transcripts")])
    assert checked.exit_code == 0, checked.output
    run = yaml.safe_load((EXAMPLES / "demo.yaml").read_text())
    here = {name: str(EXAMPLES / value) for name, value in run["inputs"].items() if (EXAMPLES / str(value)).exists()}
    run["inputs"] = run["inputs"] | here | {"personas": "personas.yaml"}
    del run["inputs"]["base_model"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
    assert "evaluator: 20 personas" in result.output
    wrong = [line for line in result.output.splitlines() if "run.yaml:" in line and "warning" not in line]
    assert all("inputs.base_model: is missing" in line for line in wrong), "nothing else is wrong"


def test_one_persona_of_five_writes_without_flaws_and_the_others_with_those_that_were_found(tmp_path: Path) -> None:
    said = [[f"my printer jams {'again' if n % 2 else 'badly'}..."] for n in range(12)]
    told = [one.communication_style for one in draft(write(tmp_path, said), 30, 0)]
    assert ["without mistakes" in one for one in told] == [n % 5 == 4 for n in range(30)]
    assert {one.partition("In each message ")[2] for one in told} == {
        "", "begins a sentence with a small letter.", "trails off with dots.",
    }  # fmt: skip


def test_what_fewer_than_three_transcripts_hold_never_gets_into_a_draft(tmp_path: Path) -> None:
    said = [["My printer jams again"]] * 3 + [["Call Rumpelstilzchen about invoice 443322x"]] * 2
    said = [[f"{one[0]} {'!' * n}"] for n, one in enumerate(said)]
    text = json.dumps([one.model_dump(mode="json") for one in draft(write(tmp_path, said), 10, 0)])
    assert "printer" in text and "rumpel" not in text.casefold() and "443322" not in text


def test_too_few_transcripts_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="write personas by hand"):
        draft(write(tmp_path, [["One of a kind"]]), 5, 0)


def test_the_same_transcripts_and_seed_give_the_same_draft() -> None:
    first, again, other = (draft(EXAMPLES / "transcripts", 12, seed) for seed in (0, 0, 1))
    assert first == again and first != other


def test_a_persona_that_says_what_is_learnt_is_refused_with_its_place(tmp_path: Path) -> None:
    talks = write(tmp_path, [["My printer jams when it prints on both sides.", "Thank you so much!"]])
    lines = [
        "My printer JAMS when it prints on two sides",
        "Thank you so much!",
        "What is a good paper for photographs?",
    ]
    file = tmp_path / "personas.yaml"
    file.write_text(yaml.safe_dump({"personas": [persona_row(0), persona_row(1, script=lines)]}))
    found = refuse_learnt(file, talks)
    assert found == (2, ["personas.1.script.0"]), "of one line nobody can say where it comes from"
    file.write_text(yaml.safe_dump({"personas": [persona_row(0), persona_row(1, script=lines[:2])]}))
    with pytest.raises(UserError, match="1 of 2 personas") as caught:
        refuse_learnt(file, talks)
    assert str(caught.value).count("personas.1.script.0") == 1 and "script.1" not in str(caught.value)
    assert "printer" not in str(caught.value), "no text of a transcript gets into a message"


@pytest.mark.parametrize(
    ("personas", "transcripts"),
    [
        (EXAMPLES / "personas.yaml", EXAMPLES / "transcripts"),
        (STARTER / "personas.yaml", STARTER / "conversations.jsonl"),
    ],
)
def test_no_line_of_the_personas_that_come_with_the_project_is_said_in_its_transcripts(
    personas: Path, transcripts: Path
) -> None:
    assert refuse_learnt(personas, transcripts).lines == []
