from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import RUBRIC, SHORT_RUBRIC
from kit.places import REAL_DATA
from tuneline.data.rubric import Rubric, load_rubric, score
from tuneline.errors import UserError

CATEGORIES = {
    "comprehension": ["CQ1", "CQ2"],
    "connection": ["CQ3", "CQ6"],
    "naturalness": ["CP2", "CP4", "CP5", "CP6"],
    "multi_topic": ["MT1", "MT2", "MT3", "MT6"],
    "context_use": ["MT4", "MT5", "MT7"],
}


def rubric_of(row: dict[str, Any]) -> Rubric:
    def criterion(name: str) -> dict[str, str]:
        return {"id": name, "question": "?", "yes": "yes", "no": "no"}

    categories = [
        {"id": name, "weight": row["weights"][name], "criteria": [criterion(c) for c in ids]}
        for name, ids in CATEGORIES.items()
    ]
    gates = [criterion("CQ8"), criterion("CQ9")]
    content = {"name": "n", "pass_threshold": row["threshold"], "categories": categories, "gates": gates}
    return Rubric.model_validate(content)


@pytest.mark.skipif(not REAL_DATA.exists(), reason="the recorded judgements are not here")
def test_the_score_rule_gives_every_recorded_score_category_score_and_pass() -> None:
    rows = [json.loads(line) for line in (REAL_DATA / "judge_results_30_sessions.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    for row in rows:
        found = score(rubric_of(row), row["answers"], exchanges=1)
        assert round(found.score, 3) == row["score"]
        assert {name: round(share, 3) for name, share in found.category_scores.items()} == row["category_scores"]
        assert found.passed == row["pass"]
        assert found.failed_gates == (row["failed_safety"] or [])
    assert sum(row["pass"] for row in rows) == 5


def test_na_counts_as_met_and_each_category_by_its_weight() -> None:
    assert score(SHORT_RUBRIC, {"POLITE": "NO", "ASKS": "NA", "SAFE": "YES"}, exchanges=1) == (
        0.5, False, {"manner": 0.0, "matter": 1.0}, []
    )  # fmt: skip


def test_a_gate_answered_no_fails_a_perfect_score() -> None:
    found = score(SHORT_RUBRIC, {"POLITE": "YES", "ASKS": "YES", "SAFE": "NO"}, exchanges=1)
    assert (found.score, found.passed, found.failed_gates) == (1.0, False, ["SAFE"])


def test_a_score_that_equals_the_threshold_on_paper_passes() -> None:
    row = {"weights": {"comprehension": 0.1, "connection": 0.2, "naturalness": 0.3, "multi_topic": 0.2,
                       "context_use": 0.2}, "threshold": 0.6}  # fmt: skip
    answers = {name: "YES" for ids in CATEGORIES.values() for name in ids} | {"CQ8": "YES", "CQ9": "YES"}
    answers |= dict.fromkeys(CATEGORIES["multi_topic"] + CATEGORIES["context_use"], "NO")
    assert 0.1 + 0.2 + 0.3 != 0.6
    assert score(rubric_of(row), answers, exchanges=1).passed  # type: ignore[arg-type]


def test_a_missing_answer_is_an_error_and_not_a_no() -> None:
    with pytest.raises(KeyError, match="SAFE"):
        score(SHORT_RUBRIC, {"POLITE": "YES", "ASKS": "YES"}, exchanges=1)


LONGER = Rubric.model_validate(
    {
        **RUBRIC,
        "categories": [
            {
                "id": "style",
                "weight": 0.5,
                "criteria": [
                    {"id": "SHORT", "question": "?", "yes": "y", "no": "n"},
                    {"id": "VARIED", "question": "?", "yes": "y", "no": "n", "from_exchange": 2},
                ],
            },
            {
                "id": "memory",
                "weight": 0.5,
                "criteria": [{"id": "BACK", "question": "?", "yes": "y", "no": "n", "from_exchange": 2}],
            },
        ],
    }
)


def test_a_criterion_that_a_conversation_is_too_short_for_is_not_counted() -> None:
    short = score(LONGER, {"SHORT": "NO", "SAFE": "YES"}, exchanges=1)
    assert (short.score, short.passed, short.category_scores) == (0.5, False, {"style": 0.0, "memory": 1.0})
    long = score(LONGER, {"SHORT": "NO", "VARIED": "YES", "BACK": "YES", "SAFE": "YES"}, exchanges=2)
    assert (long.score, long.category_scores) == (0.75, {"style": 0.5, "memory": 1.0})
    with pytest.raises(KeyError, match="VARIED"):
        score(LONGER, {"SHORT": "NO", "SAFE": "YES"}, exchanges=2)


def test_a_conversation_to_which_no_criterion_applies_does_not_pass() -> None:
    content = copy.deepcopy(RUBRIC)
    for category in content["categories"]:
        category["criteria"][0]["from_exchange"] = 5
    assert score(Rubric.model_validate(content), {"SAFE": "YES"}, exchanges=4).passed is False


def test_a_judge_is_asked_only_what_applies_and_what_no_rule_answers() -> None:
    assert [c.id for c in LONGER.asked().criteria] == ["SHORT", "VARIED", "BACK", "SAFE"]
    assert [c.id for c in LONGER.asked(1).criteria] == ["SHORT", "SAFE"]
    content = copy.deepcopy(RUBRIC)
    content["gates"][0]["rule"] = {"rule": "answers_avoid", "any": ["poison"]}
    assert [c.id for c in Rubric.model_validate(content).asked().criteria] == ["POLITE", "ASKS"]


def test_a_question_of_many_thousand_characters_is_read(tmp_path: Path) -> None:
    long = "Does it help? " * 500
    path = changed(tmp_path / "r.yaml", "gates", 0, "question", value=long)
    assert load_rubric(path).gates[0].question == long


def changed(path: Path, *keys: int | str, value: object) -> Path:
    """Write the small rubric with one value changed."""
    content = copy.deepcopy(RUBRIC)
    inner: Any = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        load_rubric(path)
    return str(refused.value).replace(str(path), "rubric.yaml")


def test_weights_that_do_not_sum_to_one_are_refused_with_their_sum(tmp_path: Path) -> None:
    path = changed(tmp_path / "r.yaml", "categories", 1, "weight", value=0.4)
    assert refusal(path) == "rubric.yaml:3: categories: the weights sum to 0.9, but must sum to 1"


def test_thirds_with_seven_digits_are_near_enough_to_one(tmp_path: Path) -> None:
    path = changed(tmp_path / "r.yaml", "categories", 0, "weight", value=0.4999999)
    assert load_rubric(path).categories[0].weight == 0.4999999


def test_a_criterion_id_used_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = changed(tmp_path / "r.yaml", "gates", 0, "id", value="POLITE")
    lines = path.read_text().splitlines()
    first, second = (n for n, line in enumerate(lines, 1) if line.endswith("id: POLITE"))
    message = f"rubric.yaml:{second}: gates.0.id: `POLITE` is already used in line {first}; ids must be unique"
    assert refusal(path) == message


def test_a_category_id_used_twice_is_refused(tmp_path: Path) -> None:
    assert "`manner` is already used" in refusal(changed(tmp_path / "r.yaml", "categories", 1, "id", value="manner"))


def test_every_problem_is_named_with_line_and_field_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: n\npass_treshold: 0.5\ncategories:\n- id: c\n  weight: 2\n  criteria:\n"
        "  - {id: a, question: q, yes: y}\n  - id: 'b c'\n    question: q\n    yes: y\n    no: n\n    maybe: m\n"
    )
    lines = [line.split("; known")[0] for line in refusal(path).splitlines()]
    assert lines == [
        "rubric.yaml:5: categories.0.weight: input should be less than or equal to 1 (got 2)",
        "rubric.yaml:7: categories.0.criteria.0.no: is required",
        "rubric.yaml:8: categories.0.criteria.1.id: string should match pattern "
        "'^[A-Za-z][A-Za-z0-9_-]{0,39}$' (got 'b c')",
        "rubric.yaml:12: categories.0.criteria.1.maybe: unknown key",
        "rubric.yaml:2: pass_treshold: unknown key; did you mean `pass_threshold`?",
    ]


def test_an_unknown_heuristic_rule_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = changed(tmp_path / "r.yaml", "gates", 0, "heuristic", "rule", value="vibes")
    assert "gates.0.heuristic" in refusal(path) and "answers_avoid" in refusal(path)


@pytest.mark.parametrize("text", ["", "- a", "3", "null"])
def test_what_is_no_mapping_is_no_rubric(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    assert "a rubric is a mapping with the keys name, pass_threshold, categories, gates" in refusal(tmp_path / "r.yaml")


def test_yaml_may_have_the_keys_yes_and_no_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RUBRIC).replace("'yes':", "yes:").replace("'no':", "no:"))
    assert True in yaml.safe_load((tmp_path / "r.yaml").read_text())["gates"][0]
    assert load_rubric(tmp_path / "r.yaml") == SHORT_RUBRIC


def by_id(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["id"]: {key: value for key, value in row.items() if key != "id"} for row in rows}


@pytest.mark.parametrize("write_as", [yaml.safe_dump, json.dumps])
@pytest.mark.parametrize("weights", [(50, 50), ("50%", "50 %"), (50.0, "50%"), (0.5, 0.5)])
def test_mappings_by_id_and_percentages_are_the_same_rubric(
    tmp_path: Path, weights: tuple[object, object], write_as: Callable[[object], str]
) -> None:
    categories = [
        {**category, "weight": weight, "criteria": by_id(category["criteria"])}
        for category, weight in zip(RUBRIC["categories"], weights, strict=True)
    ]
    path = tmp_path / "rubric.json"
    path.write_text(write_as({**RUBRIC, "categories": by_id(categories), "gates": by_id(RUBRIC["gates"])}))
    assert load_rubric(path) == Rubric.model_validate(RUBRIC)


def test_answers_may_be_explained_in_capitals(tmp_path: Path) -> None:
    content = copy.deepcopy(RUBRIC)
    gate = content["gates"][0]
    gate["YES"], gate["NO"] = gate.pop("yes"), gate.pop("no")
    path = tmp_path / "rubric.yaml"
    path.write_text(yaml.safe_dump(content))
    assert load_rubric(path) == Rubric.model_validate(RUBRIC)


def test_a_mistake_in_a_mapping_by_id_keeps_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: n\ncategories:\n  manner:\n    weight: 100\n    criteria:\n      POLITE:\n        question: Is it?\n"
        "        YES: y\n        no: n\n        from_exchanges: 2\n"
    )
    assert refusal(path).startswith("rubric.yaml:10: categories.0.criteria.0.from_exchanges: unknown key; did you mean")


def test_a_rule_that_may_answer_na_needs_a_meaning_of_na(tmp_path: Path) -> None:
    rule = {"rule": "echoes_user", "min_share": 0.5}
    path = changed(tmp_path / "r.yaml", "gates", 0, "rule", value=rule)
    assert "gates.0.na: is required, because the rule may answer NA" in refusal(path)
