from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.data.io import read_lines, read_record, write_lines, write_record
from tuneline.data.model_facts import Check
from tuneline.data.training import TrainingRow
from tuneline.data.verdicts import Pass
from tuneline.errors import UserError

STEP = TrainingRow(step=1, epoch=0.1, loss=2.5, learning_rate=1e-4, grad_norm=0.3)
VALIDATION = TrainingRow(step=1, validation_loss=2.25)
CHECK = Check(name="header", file="x.gguf", passed=True, detail="2 tensors")


def test_rows_and_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [STEP, VALIDATION])
    write_record(tmp_path / "check.json", CHECK)
    assert list(read_lines(tmp_path / "rows.jsonl", TrainingRow)) == [STEP, VALIDATION]
    assert read_record(tmp_path / "check.json", Check) == CHECK


def test_a_row_holds_what_was_set_and_nothing_else(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [VALIDATION])
    assert (tmp_path / "rows.jsonl").read_text() == '{"step":1,"validation_loss":2.25}\n'


def test_rows_that_end_early_leave_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[TrainingRow]:
        yield STEP
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_lines(tmp_path / "rows.jsonl", broken())
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"step": "SECRET"}', "step: int parsing"),
        ('{"loss": 1}', "step: missing"),
        ('{"step": 1, "SECRET": 2}', "a foreign key: extra forbidden"),
        ('{"step": 1, "loss": NaN}', "content: json invalid|loss: finite number"),
        ("SECRET", "content: json invalid"),
        ("", "content: json invalid"),
    ],
)
def test_line_and_field_at_fault_are_named_and_no_value_is(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(UserError, match=rf"^rows\.jsonl:2: ({problem})\. Let its stage") as refused:
        list(read_lines(tmp_path / "rows.jsonl", TrainingRow))
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("name", ["a\\nlevel=error", "\\u001b[31m", "\\u202eb", "\\u2028", "\\u0085", ""])
def test_an_id_is_one_line_that_can_be_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / "passing.json").write_text(f'{{"id": "{name}", "score": 1}}')
    with pytest.raises(UserError, match=r"^passing\.json: id: string"):
        read_record(tmp_path / "passing.json", Pass)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_users_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "check.json").write_bytes(data)
    with pytest.raises(UserError, match=r"check\.json: "):
        read_record(tmp_path / "check.json", Check)
