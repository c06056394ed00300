"""Answers as people and other tools write them: what is read, and what is refused with its place."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kit.judge_parts import RUBRIC, SHORT_RUBRIC, live, some_transcripts
from tuneline.data.rubric import Rubric
from tuneline.data.verdicts import Verdict
from tuneline.errors import UserError
from tuneline.judge.judging import judge_all, load_judge

GOOD = {"POLITE": "YES", "ASKS": "NO", "SAFE": "YES"}


def judged(
    folder: Path, files: dict[str, str], rubric: Rubric = SHORT_RUBRIC, count: int = 1, **config: str
) -> list[Verdict]:
    """Judge `count` transcripts, talk-000 and so on, by the answers in these files."""
    place = folder / "answers"
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    (folder / "judge.yaml").write_text(yaml.safe_dump({"provider": "recorded", **config}))
    path = place if len(files) > 1 else place / next(iter(files))
    judge = load_judge(folder / "judge.yaml", str, path)
    with live(folder) as context:
        transcripts = some_transcripts(folder, count)
        return judge_all(judge, rubric, transcripts, context, concurrency=2, timeout_s=60, max_unreadable=0.02)


def row(name: str = "talk-000", **answers: Any) -> dict[str, Any]:
    return {"id": name, "answers": {**GOOD, **answers}}


SURVEY = 'id,POLITE,ASKS,SAFE,note\ntalk-000,Yes,no,TRUE,"a, b\nc"\n'
LONG = "transcript_id;criterion;answer;reason\n" + "".join(f"talk-000;{k};{v};Seen.\n" for k, v in GOOD.items())
LABELLED = [{
    "id": 7, "data": {"id": "talk-000", "text": "…"},
    "annotations": [{"id": 1, "result": [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [answer.title()]}}
        for name, answer in GOOD.items()
    ]}],
}]  # fmt: skip
GRADED = {"evalId": "e", "results": {"version": 3, "results": [{
    "vars": {"id": "talk-000"}, "success": False,
    "gradingResult": {"pass": False, "componentResults": [
        {"pass": answer == "YES", "score": 1, "reason": "Seen.", "assertion": {"type": "llm-rubric", "metric": name}}
        for name, answer in GOOD.items()
    ]},
}]}}  # fmt: skip

LAYOUTS = {
    "pretty-printed object": ("a.json", json.dumps(row(), indent=2)),
    "pretty-printed list": ("a.json", json.dumps([row()], indent=2)),
    "pretty-printed objects that follow each other": (
        "a.json", json.dumps(row(), indent=2) + "\n" + json.dumps(row("x"), indent=2)
    ),
    "an object by id": ("a.json", json.dumps({"talk-000": {"answers": GOOD}}, indent=1)),
    "below a word": ("a.json", json.dumps({"model": "m", "results": [row()]})),
    "a key per criterion": ("a.jsonl", json.dumps({"id": "talk-000", "rater": "anna", **GOOD})),
    "objects with reasons": (
        "a.jsonl", json.dumps(row(POLITE={"answer": "yes", "reason": "Seen."}, ASKS={"value": False, "comment": "No."}))
    ),
    "a list of criteria": (
        "a.jsonl", json.dumps({"id": "talk-000", "answers": [{"criterion": k, "verdict": v} for k, v in GOOD.items()]})
    ),
    "a row per criterion": (
        "a.jsonl",
        "\n".join(json.dumps({"id": "talk-000", "criterion": k, "passed": v == "YES"}) for k, v in GOOD.items())
    ),
    "numbers": ("a.jsonl", json.dumps(row(POLITE=1, ASKS=0, SAFE=1.0))),
    "a spreadsheet": ("a.csv", SURVEY),
    "a spreadsheet with a long note": ("a.csv", SURVEY.replace("a, b", "x" * 200_000)),
    "a spreadsheet with tabs": ("a.tsv", "id\tPOLITE\tASKS\tSAFE\ntalk-000\tY\tN\tpass\n"),
    "a spreadsheet with semicolons and a mark": ("a.csv", "\ufeffsep=;\n" + LONG),
    "Label Studio": ("a.json", json.dumps(LABELLED)),
    "promptfoo": ("a.json", json.dumps(GRADED)),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_answers_of_every_layout_are_read(tmp_path: Path, layout: str) -> None:
    name, text = LAYOUTS[layout]
    [verdict] = judged(tmp_path, {name: text})
    assert verdict.answers == GOOD


def test_a_folder_with_a_file_per_transcript_is_read(tmp_path: Path) -> None:
    files = {f"{n}.json": json.dumps(row(f"talk-00{n}"), indent=1) for n in range(3)}
    assert [v.answers for v in judged(tmp_path, {**files, "notes.txt": "x"}, count=3)] == [GOOD] * 3


def test_an_error_of_one_criterion_is_a_status_of_its_own_and_stops_nothing(tmp_path: Path) -> None:
    rows = [row("talk-000"), row("talk-001", ASKS="ERROR"), row("talk-002")]
    first, second, third = judged(tmp_path, {"a.jsonl": "\n".join(map(json.dumps, rows))}, count=3)
    assert [v.status for v in (first, second, third)] == ["scored", "incomplete", "scored"]
    assert (second.score, second.passed, second.detail) == (None, False, "recorded as ERROR: ASKS")


def test_too_many_recorded_failures_are_refused_with_a_way_out_that_fits_recorded_answers(tmp_path: Path) -> None:
    text = json.dumps({"id": "talk-000", "answers": {}, "status": "unparsed"})
    with pytest.raises(UserError) as refused:
        judged(tmp_path, {"a.jsonl": text})
    assert "Have these judged again and replace their answers" in str(refused.value)
    assert "max_tokens" not in str(refused.value) and "schema" not in str(refused.value)


def test_na_where_the_rubric_gives_it_no_meaning_is_refused_and_elsewhere_counts_as_met(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError) as refused:
        judged(tmp_path, {"a.jsonl": json.dumps(row(SAFE="NA"))})
    assert "a.jsonl:1: answers.SAFE: is NA, but the rubric gives NA no meaning here (`na:`)" in str(refused.value)
    (tmp_path / "other").mkdir()
    [verdict] = judged(tmp_path / "other", {"a.jsonl": json.dumps(row(ASKS="n/a"))})
    assert verdict.answers["ASKS"] == "NA" and verdict.score == 1.0


def test_what_is_absent_where_a_criterion_does_not_apply_is_not_counted(tmp_path: Path) -> None:
    content = copy.deepcopy(RUBRIC)
    content["categories"][1]["criteria"][0]["from_exchange"] = 3
    answers = {"POLITE": "YES", "SAFE": "YES"}
    [verdict] = judged(
        tmp_path, {"a.jsonl": json.dumps({"id": "talk-000", "answers": answers})}, Rubric.model_validate(content)
    )
    assert verdict.answers == answers and verdict.score == 1.0


def test_the_last_of_several_answers_counts_by_choice_only(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row(POLITE=answer)) for answer in ("NO", "NO", "YES"))
    with pytest.raises(UserError) as refused:
        judged(tmp_path, {"a.jsonl": text})
    assert "a.jsonl:2: id: `talk-000` has answers already, in a.jsonl:1" in str(refused.value)
    assert "say `repeated: latest` in the judge's configuration" in str(refused.value)
    (tmp_path / "other").mkdir()
    [verdict] = judged(tmp_path / "other", {"a.jsonl": text}, repeated="latest")
    assert verdict.answers["POLITE"] == "YES"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.jsonl", json.dumps({"id": "talk-000", "answers": {"polite": "YES", "ASKS": "NO", "SAFE": "YES"}}),
         "a.jsonl:1: answers.POLITE: is missing; did you mean `polite`?"),
        ("a.jsonl", json.dumps({"id": "talk-000", "POLITE": "rather", "ASKS": "NO", "SAFE": "YES"}),
         "a.jsonl:1: answers.POLITE: is none of YES, NO, NA and ERROR"),
        ("a.json", json.dumps([row("x"), {"id": "y", "answers": {"A": "?"}}], indent=1),
         "a.json:10: answers.A: is none"),
        ("a.json", json.dumps(row("file-1")), "have no recorded answers: talk-000; there are answers for file-1"),
        ("a.json", "[]", "have no recorded answers: talk-000; there are answers for nothing at all"),
        ("a.csv", "id,POLITE\ntalk-000,YES,NO\n", "a.csv:2: 3 cells, but 2 columns have a name"),
        ("a.csv", "id,POLITE,POLITE\n", "a.csv:1: two columns are called `POLITE`"),
        ("a.csv", 'id,POLITE\n"talk-000,YES\n', "a.csv:2: not CSV"),
        ("a.csv", "name,POLITE\nx,YES\n", "a.csv:2: id: is required, that of the transcript"),
        ("a.json", '{"id": "talk-000",\n "answers": {"A": "YES"', "a.json:2: not JSON"),
        ("a.json", "[1]", "a.json:1: is no object with an id and answers"),
        ("a.jsonl", json.dumps({**row(), "status": "odd"}), "a.jsonl:1: status: is none of scored, refused"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_file_line_and_field(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    with pytest.raises(UserError) as refused:
        judged(tmp_path, {name: text})
    assert problem in str(refused.value)


def test_a_folder_without_answers_is_refused_with_the_endings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"answers has no file that ends in \.json, \.jsonl"):
        judged(tmp_path, {"a.txt": "x", "b.txt": "y"})
