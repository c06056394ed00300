from __future__ import annotations

from pathlib import Path

import pytest

from tuneline.commands.labels import read_labels, refuse_unknown
from tuneline.data.text.rules import Answer
from tuneline.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "id,A,B\nt0,YES,no\nt1,n/a,\n",
        "\ufeffid;A;B\r\nt0;Yes;No\r\nt1;NA;\r\n",
        "sep=;\nid;A;B\nt0;Yes;No\nt1;NA;\n",
        "conversation_id\tA\tB\nt0\tyes.\tFALSE\n\t\t\nt1\tNA\t\n",
        "id,criterion,answer\nt0,A,YES\nt0,B,NO\nt1,A,NA\nt1,A,NA\n",
        "id,criterion,label\nt0,A,Y\nt0,B,fail\nt1,A,n/a\n",
        "id,A,B,notes,date\nt0,1,0,unsure?,2026-11-02\nt1,NA,,,\n",
        "id,rater,A,B\nt0,ann,yes,no\nt0,bob,yes,yes\nt0,eve,no,no\nt1,ann,na,yes\nt1,bob,na,no\n",
    ],
)
def test_labels_in_a_csv_are_read_by_column_or_by_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, newline="", encoding="utf-8")
    assert read_labels(path) == {"t0": {"A": "YES", "B": "NO"}, "t1": {"A": "NA"}}


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl"])
def test_a_label_finds_a_transcript_whose_id_had_to_be_spelt_otherwise(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"id": "a/b", "answers": {"A": "YES"}}' if name.endswith("l") else "id,A\na/b,YES\n")
    assert read_labels(path) == {"a%2Fb": {"A": "YES"}}


def test_labels_in_json_lines_are_those_of_the_recorded_judge(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"id": "t0", "answers": {"A": "YES"}}\n{"id": "t1", "answers": {}, "status": "refused"}\n')
    assert read_labels(path) == {"t0": {"A": "YES"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "labels.csv: no answers; a table of labels has a column id"),
        ("id,A\nt0,\n", "labels.csv: no answers; a table of labels has a column id"),
        ("name,A\nt0,YES\n", "labels.csv:1: no column id; it has name, A"),
        ("id,A\nt0,maybe\nt1,perhaps\n", "labels.csv:2: A: must be YES, NO or NA\nlabels.csv:3: A: must be"),
        ("id,A\nt0,YES\nt0,NO\n", "labels.csv:3: A: `t0` has another answer already"),
        ("id,A\nt0\n", "labels.csv:2: 1 cells under 2 columns, or no id"),
        ("id,A\n,YES\n", "labels.csv:2: 2 cells under 2 columns, or no id"),
        ("id,A,A\nt0,YES,NO\n", "labels.csv:1: two columns are called `A`"),
        ("id,A\nt0,YES,NO\n", "labels.csv:2: 3 cells, but 2 columns have a name"),
        ('id,A\nt0,"YES\n', "labels.csv:2: not CSV: unexpected end of data"),
    ],
)
def test_labels_that_cannot_be_read_are_refused_with_their_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read_labels(path)
    assert problem in str(refused.value)


def test_labels_of_other_criteria_or_transcripts_are_refused() -> None:
    judged: dict[str, dict[str, Answer]] = {"t0": {"POLITE": "YES"}, "t1": {"POLITE": "YES"}}
    with pytest.raises(UserError, match="`POLTE` is no criterion; did you mean `POLITE`"):
        refuse_unknown({"t0": {"POLTE": "YES"}}, judged)
    with pytest.raises(UserError, match=r"none of 1 ids \(x\) is one of the 2 judged transcripts \(t0, t1\)"):
        refuse_unknown({"x": {"POLITE": "YES"}}, judged)
    refuse_unknown({"t0": {"POLITE": "YES"}, "x": {"POLITE": "YES"}}, judged)
