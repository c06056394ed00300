"""More than two arms: other quantisations of the fine-tuned model, and models that a run names."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from kit.scripted_openai import completion, serve_openai
from kit.support import run_stage
from tuneline.commands.check import check
from tuneline.errors import UserError
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.conversations.further import refuse_names, sources
from tuneline_evaluator.stage import STAGE

PARAMS: Mapping[str, Any] = {"turns": 1, "sampler": {"max_answer_tokens": 12}, "threads": 1, "slots": 2}


@pytest.fixture
def quantised(arms: Mapping[str, Any], tmp_path: Path) -> Mapping[str, Any]:
    """The inputs with a fine-tuned model of which the converter made a second file."""
    folder = tmp_path / "tuned"
    shutil.copytree(arms["model"], folder)
    shutil.copy(folder / "tuned.gguf", folder / "tuned-Q8_0.gguf")
    facts = json.loads(Path(arms["model_info"]).read_text())
    facts["sizes"] = {file.name: file.stat().st_size for file in folder.iterdir()}
    info = tmp_path / "tuned.json"
    info.write_text(json.dumps(facts))
    return {**arms, "model": folder, "model_info": info}


@pytest.mark.slow
@pytest.mark.xdist_group("evaluator")
def test_quantisations_and_named_models_are_judged_beside_the_two_and_every_pair_is_tested(
    quantised: Mapping[str, Any], arms: Mapping[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "further"
    folder.mkdir()
    shutil.copy(arms["base"] / "base.gguf", folder / "twin.gguf")
    with serve_openai(lambda call: completion("I see. Thank you for telling me, I am glad to help.")) as server:
        endpoint = {"provider": "openai", "model": "m", "base_url": server.url, "output_usd": 1.0}
        (folder / "vendor.yaml").write_text(yaml.safe_dump(endpoint))
        inputs, params = {**quantised, "arms": folder}, {**PARAMS, "evaluate": ["Q8_0"], "preference": True}
        done = run_stage(STAGE, tmp_path, inputs=inputs, params=params, run="many")
    found = Comparison.model_validate_json(done.paths["comparison"].read_text())
    assert found.many is not None
    rows = {row.arm: row for row in found.many.arms}
    assert list(rows) == ["base", "finetuned", "q8_0", "twin", "vendor"]
    assert [arm.arm for arm in found.arms] == ["base", "finetuned"]
    assert (rows["q8_0"].file_type, rows["q8_0"].name) == ("Q8_0", "tuned-Q8_0.gguf")
    assert rows["q8_0"].differs == ["file type"]
    assert len(found.many.pairs) == 10
    by_pair = {(pair.first, pair.second): pair for pair in found.many.pairs}
    assert by_pair["base", "finetuned"].difference == pytest.approx(found.score.mean_difference)
    assert all(pair.p_holm is not None and pair.p is not None and pair.p_holm >= pair.p for pair in found.many.pairs)
    assert rows["base"].rating == 1500
    talks = [json.loads(line) for line in done.paths["conversations"].read_text().splitlines()]
    assert Counter(row["arm"] for row in talks) == dict.fromkeys(rows, 6)
    assert (found.base.conversations, found.finetuned.conversations) == (6, 6)
    assert done.manifest.metrics.cost.rows[0].role == "answers"
    assert any(text.startswith("Of the vendor arm") for text in found.unverified)
    report, summary = done.paths["report"].read_text(), done.paths["summary"].read_text()
    assert "All models" in report and "tuned-Q8_0.gguf" in report
    assert "| vendor |" in summary


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["v1", "v1"], "v1: each arm has a name of its own"),
        (["base"], "base: each arm has a name of its own"),
        (["a b"], "'a b' is no name"),
        (["../x"], "is no name"),
        ([f"v{number}" for number in range(13)], "13 are more than 12"),
    ],
)
def test_names_that_cannot_be_arms_are_refused(names: list[str], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        refuse_names(names)
    assert problem in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "v1: m", "3", '{"v1": [1]}'])
def test_something_else_than_a_mapping_of_endpoints_is_refused_with_the_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "arms.yaml").write_text(content)
    with pytest.raises(UserError, match=r"arms\.yaml:1: arms: is a mapping from names to endpoints"):
        sources(tmp_path / "arms.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.gguf, \.yaml or \.jsonl file"):
        sources(tmp_path / "empty")


def test_a_type_that_the_converter_does_not_make_is_refused_by_the_check(
    arms: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {name: arms[name] for name in ("rubric", "judge", "personas")} | {"base_model": str(arms["base_model"])}
    (tmp_path / "talk.json").write_text("{}")
    run = {"inputs": {**given, "transcripts": str(tmp_path / "talk.json")}, "evaluator": {"evaluate": ["Q8_0"]}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"run": "r", **run}))
    with pytest.raises(typer.Exit):
        check(tmp_path / "run.yaml", None, online=False)
    assert "evaluate: Q8_0 is none of the further types that the converter makes (none)" in capsys.readouterr().err


def recorded(folder: Path, name: str, said: str, *, personas: int = 6, arm: str = "v0") -> Path:
    """Conversations in the form in which an earlier run left them."""
    rows = [
        {
            "id": f"person-{number:02}/0/{arm}",
            "messages": [
                {"role": "user", "content": f"Hello, this is number {number}."},
                {"role": "assistant", "content": f"{said} ({number})"},
            ],
        }
        for number in range(personas)
    ]
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_conversations_that_exist_already_are_compared_without_any_server(
    arms: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    given = {name: arms[name] for name in ("rubric", "judge", "personas")}
    further = tmp_path / "further"
    further.mkdir()
    recorded(further, "v0.jsonl", "It depends.")
    both = {
        "base": recorded(tmp_path, "before.jsonl", "No."),
        "model": recorded(tmp_path, "after.jsonl", "Thank you for asking. What soil do you have?", personas=5),
    }
    done = run_stage(STAGE, tmp_path, inputs={**given, **both, "arms": further}, params={"turns": 1}, run="recorded")
    found = Comparison.model_validate_json(done.paths["comparison"].read_text())
    assert (found.base.scored, found.finetuned.scored, found.score.personas) == (6, 5, 5)
    assert found.many is not None and [row.arm for row in found.many.arms] == ["base", "finetuned", "v0"]
    assert all("how its conversations came about" in said for said in found.unverified)
    talks = [json.loads(line) for line in done.paths["conversations"].read_text().splitlines()]
    assert talks[0]["messages"][1]["content"] == "No. (0)"
    assert done.paths["modelfile"].read_text().startswith("# No FROM: after.jsonl")


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("not json", "v0.jsonl"),
        ([("stranger", "Hi.")], "no conversation's id is that of a persona or prompt of this run; it has stranger"),
        ([("person-00/0/base", "Hi."), ("person-00/0/other", "Hi.")], "two conversations of person-00, trial 0"),
    ],
)
def test_recorded_conversations_that_cannot_be_matched_are_refused(
    arms: Mapping[str, Any], tmp_path: Path, rows: str | list[tuple[str, str]], problem: str
) -> None:
    given = {name: arms[name] for name in ("rubric", "judge", "personas")}
    file = tmp_path / "v0.jsonl"
    if isinstance(rows, str):
        file.write_text(rows)
    else:
        said = [{"role": "user", "content": "Hello."}]
        texts = ({"id": name, "messages": [*said, {"role": "assistant", "content": text}]} for name, text in rows)
        file.write_text("".join(json.dumps(text) + "\n" for text in texts))
    both = {"base": recorded(tmp_path, "before.jsonl", "No."), "model": file}
    with pytest.raises(UserError) as caught:
        run_stage(STAGE, tmp_path, inputs={**given, **both}, params={"turns": 1}, run="recorded")
    assert problem in str(caught.value)
