"""Tables as spreadsheets, pandas, pyarrow and `datasets` write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from tuneline.data.reading.files import read_records
from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError

SAID = [("user", 'My "kettle", it\nleaks; why?'), ("assistant", "Tighten; the lid, é")] * 2
ROWS = [
    {"conversation_id": name, "turn": turn, "role": role, "content": f"{name}: {text}"}
    for name in ("a", "b")
    for turn, (role, text) in enumerate(SAID)
]
FRAME = pd.DataFrame(ROWS)
TALKS = [[{"role": role, "content": f"{name}: {text}"} for role, text in SAID] for name in ("a", "b")]
MAPS = pa.array([[list(said.items()) for said in talk] for talk in TALKS], pa.list_(pa.map_(pa.string(), pa.string())))


def excel(path: Path) -> None:
    path.write_text("sep=;\r\n" + FRAME.to_csv(index=False, sep=";", lineterminator="\r\n"), newline="")


def with_empty_columns(path: Path) -> None:
    FRAME.assign(**{"": "", " ": ""}).to_csv(path, index=False, sep=";")


def with_a_separator_in_a_name(path: Path) -> None:
    FRAME.rename(columns={"turn": "turn"}).assign(**{"notes, if any, or not": ""}).to_csv(path, index=False, sep=";")


def categorical(path: Path) -> None:
    FRAME.astype({"role": "category", "conversation_id": "category"}).to_parquet(path)


def in_groups(path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(FRAME), path, row_group_size=3)


WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "pandas, with its index": ("x.csv", FRAME.to_csv),
    "pandas, with a byte order mark": ("x.csv", lambda path: FRAME.to_csv(path, sep=";", encoding="utf-8-sig")),
    "pandas, packed": ("x.csv.gz", lambda path: FRAME.to_csv(path, index=False)),
    "Excel, which names its separator": ("x.csv", excel),
    "a spreadsheet with columns that are empty": ("x.csv", with_empty_columns),
    "a separator within a column's name": ("x.csv", with_a_separator_in_a_name),
    "pandas, one list of rows": ("x.json", lambda path: FRAME.to_json(path, orient="records")),
    "pandas, one list of rows over many lines": (
        "x.json",
        lambda path: FRAME.to_json(path, orient="records", indent=1),
    ),
    "pandas, rows with their schema": ("x.json", lambda path: FRAME.to_json(path, orient="table")),
    "pandas, lines": ("x.jsonl", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "pandas, categories": ("x.parquet", categorical),
    "pyarrow, in groups": ("x.parquet", in_groups),
    "datasets": ("x.parquet", lambda path: Dataset.from_list(ROWS).to_parquet(str(path))),
}


@pytest.mark.parametrize("program", WRITERS)
def test_rows_of_several_conversations_are_read_from_whatever_wrote_them(tmp_path: Path, program: str) -> None:
    name, write = WRITERS[program]
    write(tmp_path / name)
    expected = [(n, tuple(Exchange(f"{n}: {SAID[0][1]}", f"{n}: {SAID[1][1]}") for _ in range(2))) for n in ("a", "b")]
    read = [(t.id, t.exchanges) for t in read_transcripts(tmp_path).transcripts]
    if "\r" in (tmp_path / name).read_bytes()[:200].decode(errors="replace"):  # the text's own lines end so, too
        read = [(n, tuple(Exchange(*(x.replace("\r\n", "\n") for x in e)) for e in es)) for n, es in read]
    assert read == expected


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"id": ["a", "b"], "messages": TALKS}),
        pa.table({"id": ["a", "b"], "messages": MAPS}),
        pa.table({"id": ["a", "b"], "messages": [json.dumps(talk) for talk in TALKS]}),
        pa.table(
            {
                "id": ["a", "b"],
                "conversations": [
                    {"from": [one["role"] for one in talk], "value": [one["content"] for one in talk]} for talk in TALKS
                ],
            }
        ),
    ],
    ids=["lists of objects", "lists of maps", "texts", "an object of lists"],
)
def test_nested_columns_of_any_type_are_one_conversation_each(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "x.parquet")
    found = read_transcripts(tmp_path).transcripts
    assert [(t.id, t.exchanges[1].assistant) for t in found] == [("a", f"a: {SAID[1][1]}"), ("b", f"b: {SAID[1][1]}")]


def test_a_table_without_rows_beside_others_is_counted_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("role,content\n")
    FRAME[:0].to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x.csv:1: a table without rows\nx.parquet:1: a table without rows"):
        read_transcripts(tmp_path)
    FRAME.to_parquet(tmp_path / "y.parquet")
    read = read_transcripts(tmp_path)
    assert ([t.id for t in read.transcripts], read.kinds) == (["a", "b"], {"no_exchange": 2})


@pytest.mark.parametrize(("letters", "rows"), [(1_000_000, 200), (30_000_000, 4)])
def test_a_parquet_file_that_holds_a_text_once_for_many_rows_is_refused_before_it_fills_the_memory(
    letters: int, rows: int, tmp_path: Path
) -> None:
    same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * letters]))
    table = pa.table({"prompt": [f"Question {number}?" for number in range(rows)], "response": same})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd")
    records = list(read_records(tmp_path))
    assert len(records) == 64 * 1024 * 1024 // letters + 1
    assert "more than 100 times as large as its file" in str(records[-1].problem)
