"""Rows of results, read where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneline.engine.rows import RowReader
from tuneline.errors import UserError
from tuneline.store.base import open_store


def test_a_damaged_row_of_a_result_is_named_with_file_and_line_and_not_shown(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "slices.jsonl").write_bytes(b'{"id": "a"}\n[]\n{"id": "secret\n')
    record = store.upload(tmp_path / "slices.jsonl", "results/slicer/f/1/slices.jsonl")
    rows = RowReader(store, tmp_path).rows(record)
    assert next(rows) == {"id": "a"}
    with pytest.raises(UserError, match=r"1/slices\.jsonl:3: not JSON\. Let its stage make it again") as refused:
        list(rows)
    assert "secret" not in str(refused.value)
