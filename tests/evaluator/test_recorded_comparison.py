"""A study that others made: their conversations and their judges' answers, with our statistics and our report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kit.support import run_stage
from tuneline.commands.tuneline import app
from tuneline.data.paired.planning import people_for
from tuneline.errors import UserError
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.stage import STAGE

WEIGHTS = {"A": 0.037, "B": 0.046, "C": 0.056, "D": 0.087, "E": 0.107, "F": 0.667}
GAINS = {"mira": "C", "olaf": "ABDE", "petra": "AB", "quirin": "ABD", "rosa": "A"}
"""What the fine-tuned model meets beyond F, which both meet: 0.056, 0.277, 0.083, 0.170 and 0.037."""


def rubric() -> dict[str, Any]:
    def criterion(name: str) -> dict[str, Any]:
        return {"id": f"{name}1", "question": f"{name}?", "yes": "Yes.", "no": "No."}

    categories = [{"id": name, "weight": weight, "criteria": [criterion(name)]} for name, weight in WEIGHTS.items()]
    return {"name": "A study", "categories": categories, "gates": [criterion("SAFE")]}


def answers(met: str, *, safe: bool = True) -> dict[str, str]:
    given = {f"{name}1": "YES" if name in f"{met}F" else "NO" for name in WEIGHTS}
    return {**given, "SAFE1": "YES" if safe else "NO"}


def study(folder: Path) -> dict[str, Any]:
    """The base as one system exports it, and the fine-tuned model as another does."""
    base, tuned = folder / "base.jsonl", folder / "tuned.jsonl"
    told = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Good day."}]
    base.write_text("".join(json.dumps({"id": name, "conversations": told}) + "\n" for name in GAINS))
    said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Welcome."}]
    tuned.write_text("".join(json.dumps({"id": f"{name}/0", "messages": said}) + "\n" for name in GAINS))
    before, after = folder / "before.jsonl", folder / "after.csv"
    before.write_text("".join(json.dumps({"id": n, "answers": answers("")}) + "\n" for n in GAINS))
    with after.open("w", newline="") as file:
        rows = [{"conversation_id": f"{n}/0", **answers(met, safe=n != "rosa")} for n, met in GAINS.items()]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return {
        "base": base, "model": tuned, "base_answers": before, "model_answers": after, "rubric": rubric(),
        "judge": {"provider": "recorded"},
    }  # fmt: skip


def compared(folder: Path, given: Mapping[str, Any]) -> tuple[Comparison, str]:
    done = run_stage(STAGE, folder, inputs=given, run="study")
    return Comparison.model_validate_json(done.paths["comparison"].read_text()), done.paths["report"].read_text()


def test_a_published_comparison_of_five_personas_is_inconclusive_and_names_the_gate_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    found, report = compared(tmp_path, study(tmp_path))
    score = found.score
    assert [row.difference for row in found.personas] == pytest.approx([0.056, 0.277, 0.083, 0.170, 0.037])
    assert (score.degrees_of_freedom, score.sign_flip_p, score.detectable) == (4, 0.0625, None)
    assert score.t == pytest.approx(2.81, abs=0.005)
    assert score.t_p == pytest.approx(0.048, abs=0.0005)
    assert found.outcome == "inconclusive"
    assert "safety fails in the fine-tuned model only: SAFE1 (1 of 5" in found.headline
    assert "Read the failures first" in report
    assert "recorded answers" in report
    assert "followed scripts" not in report


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"base_answers": None}, "base_answers is not given"),
        ({"judge": {"provider": "heuristic"}}, "only `recorded` reads the inputs base_answers and model_answers"),
        ({"judge": {"judges": {"a": {"provider": "recorded"}, "b": {"provider": "heuristic"}}}}, "one of several"),
        ({"lost": "rosa"}, r"base_answers: 1 of 5 conversations of base.jsonl have no answers: rosa/0"),
    ],
)
def test_recorded_answers_that_cannot_be_used_are_refused(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    given = study(tmp_path)
    if lost := changed.pop("lost", None):
        kept = [line for line in given["base_answers"].read_text().splitlines() if lost not in line]
        given["base_answers"].write_text("\n".join(kept))
    with pytest.raises(UserError, match=problem):
        run_stage(STAGE, tmp_path, inputs={**given, **changed}, run="study")


def renamed(folder: Path, given: dict[str, Any], change: Callable[[str], str], *ports: str) -> dict[str, Any]:
    """Give the conversations and answers of these inputs other ids."""
    for port in ports:
        text = given[port].read_text()
        for name in GAINS:
            text = text.replace(f"{name}/0", name).replace(name, change(name))
        given[port].write_text(text)
    return given


def test_people_may_be_called_as_other_systems_call_them(tmp_path: Path) -> None:
    ports = ("base", "model", "base_answers", "model_answers")
    given = renamed(tmp_path, study(tmp_path), lambda name: f"Zoë {name} (VIP)", *ports)
    found, _ = compared(tmp_path, given)
    assert [row.id for row in found.personas] == [f"Zoë {name} (VIP)" for name in GAINS]
    assert found.score.personas == 5


def test_all_trials_that_are_recorded_count_and_add_no_persona(tmp_path: Path) -> None:
    given = study(tmp_path)
    for port in ("base", "model", "base_answers"):
        lines = [json.loads(line) for line in given[port].read_text().splitlines()]
        rows = [{**row, "id": f"{row['id'].partition('/')[0]}/{trial}"} for row in lines for trial in range(3)]
        given[port].write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"id": f"{name}/{trial}", "answers": answers(met)} for name, met in GAINS.items() for trial in range(3)]
    (tmp_path / "after.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given["model_answers"] = tmp_path / "after.jsonl"
    found, _ = compared(tmp_path, given)
    assert (found.base.conversations, found.settings.trials, found.personas[0].base_trials) == (15, 3, 3)
    assert found.score.t == pytest.approx(2.81, abs=0.005)


def test_a_criterion_counts_only_from_so_many_exchanges_on(tmp_path: Path) -> None:
    given = study(tmp_path)
    late = {"id": "LATE1", "question": "Late?", "yes": "Yes.", "no": "No.", "from_exchange": 2}
    given["rubric"]["categories"][0]["criteria"].append(late)
    for port, answered in (("base", "base_answers"), ("model", "model_answers")):
        rows = [json.loads(line) for line in given[port].read_text().splitlines()]
        for row in rows[:2]:
            said = row.get("conversations") or row["messages"]
            said += said[:2]
        given[port].write_text("".join(json.dumps(row) + "\n" for row in rows))
        late_answers = [
            {"id": f"{name}/0", "answers": answers("") | ({"LATE1": "NO"} if place < 2 else {})}
            for place, name in enumerate(GAINS)
        ]
        given[answered] = tmp_path / f"{answered}.jsonl"
        given[answered].write_text("".join(json.dumps(row) + "\n" for row in late_answers))
    found, _ = compared(tmp_path, given)
    personas = {row.id: row.personas for row in found.criteria}
    assert (personas["LATE1"], personas["A1"]) == (2, 5)


def test_arms_without_anybody_in_common_are_refused_and_so_are_numbers_that_are_no_trials(tmp_path: Path) -> None:
    given = renamed(tmp_path, study(tmp_path), lambda name: f"other-{name}", "base", "base_answers")
    with pytest.raises(UserError, match=r"nobody talks in both arms: base.jsonl has other-mira"):
        run_stage(STAGE, tmp_path, inputs=given, run="study")
    (tmp_path / "far").mkdir()
    given = renamed(tmp_path, study(tmp_path / "far"), lambda name: f"{name}/2024", "base")
    with pytest.raises(UserError, match=r"base.jsonl: rosa/2024: what follows the `/`"):
        run_stage(STAGE, tmp_path, inputs=given, run="far")


def checked(folder: Path, given: Mapping[str, Any]) -> str:
    inputs = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    (folder / "run.yaml").write_text(yaml.safe_dump({"run": "r", "goal": "evaluator", "inputs": inputs}))
    return CliRunner().invoke(app, ["check", str(folder / "run.yaml")]).output


def test_a_check_says_once_what_is_wrong_with_a_recorded_arm_and_asks_for_no_personas(tmp_path: Path) -> None:
    given = study(tmp_path)
    given["base"].write_text(
        given["base"].read_text() + given["base"].read_text().splitlines()[0].replace("Hello", "Bye")
    )
    said = checked(tmp_path, given)
    assert said.count("with different content") == 2  # both of its lines
    assert "neither is given" not in said
    (tmp_path / "other").mkdir()
    apart = renamed(tmp_path, study(tmp_path / "other"), lambda name: f"other-{name}", "base", "base_answers")
    assert "nobody talks in both arms" in checked(tmp_path, apart)


def planned(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan-eval", *words])
    return done.exit_code, done.output


def test_the_next_comparison_is_planned_with_what_this_one_showed(tmp_path: Path) -> None:
    run_stage(STAGE, tmp_path, inputs=study(tmp_path), run="study")
    code, said = planned("study", "--mde", "5", "--store", str(tmp_path / "store"), "--usd", "0.5")
    assert code == 0
    assert "varies by 9.9 points among personas (as in study, over 5 personas)" in said
    assert "     1         33             66  16.50" in said
    assert "5 personas say how they vary only roughly" in said
    assert "it takes a run with two trials or more" in said


def test_a_comparison_is_planned_with_assumptions(tmp_path: Path) -> None:
    code, said = planned("--mde", "5", "--sd", "10", "--within", "10", "--store", str(tmp_path))
    assert code == 0
    [one, two] = [int(line.split()[1]) for line in said.splitlines() if line.split()[:1] in (["1"], ["5"])]
    assert one > two > people(0.05, 0.10)
    assert planned("--mde", "5", "--store", str(tmp_path))[0] == 2
    assert planned("study", "--mde", "5", "--sd", "3", "--store", str(tmp_path))[0] == 2
    assert planned("no-such-run", "--mde", "5", "--store", str(tmp_path))[0] == 2


def people(difference: float, spread: float) -> int:
    found = people_for(difference, spread, 0.05)
    assert found is not None
    return found
