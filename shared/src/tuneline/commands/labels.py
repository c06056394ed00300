"""What people answered, in a file of theirs: JSON Lines as for the judge `recorded`, or CSV.

A CSV has a column `id` and one column per criterion (an empty cell is no answer), or the columns `id`, `criterion` and
`answer`, with one answer per line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from tuneline.commands.agreement import Answers
from tuneline.data.text.rules import Answer
from tuneline.errors import UserError
from tuneline.judge.answer import as_answer
from tuneline.judge.recorded import read_recorded
from tuneline.parsing.problems import did_you_mean, printable

IDS = ("id", "transcript_id", "conversation_id")
MAX_SHOWN = 100
MAX_BYTES = 256 << 20
LONG = ("criterion", "answer")


def read_labels(path: Path) -> dict[str, dict[str, Answer]]:
    """Return the answers of a file by id and criterion. Raises UserError that names file, line and field."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    return {name: dict(row.answers) for name, row in read_recorded(path).items() if row.status == "scored"}


def refuse_unknown(labels: Answers, judged: Answers) -> None:
    """Raise UserError when labels name no judged transcript, or a criterion that nobody was asked."""
    known = list(dict.fromkeys(name for row in judged.values() for name in row))
    asked = {name for row in labels.values() for name in row}
    if unknown := sorted(asked - set(known)):
        raise UserError(f"labels: `{printable(unknown[0])}` is no criterion{did_you_mean(unknown[0], known)}")
    if not labels.keys() & judged.keys():
        raise UserError(f"labels: none of {len(labels)} ids is one of the {len(judged)} judged transcripts")


def _read_csv(path: Path) -> dict[str, dict[str, Answer]]:
    found: dict[str, dict[str, Answer]] = {}
    problems: list[str] = []
    for line, name, criterion, cell in _cells(path):
        answer = as_answer(cell)
        if answer is None:
            problems.append(f"{path.name}:{line}: {printable(criterion)}: must be YES, NO or NA")
        elif found.setdefault(name, {}).setdefault(criterion, answer) != answer:
            problems.append(
                f"{path.name}:{line}: {printable(criterion)}: `{printable(name)}` has another answer already"
            )
        if len(problems) == MAX_SHOWN:
            break
    if problems:
        raise UserError("\n".join(problems))
    return found


def _cells(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, id, criterion and answer of every cell that holds one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path.name}: more than {MAX_BYTES >> 20} MiB of labels")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise UserError(f"labels: {path.name} cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path.name}: not UTF-8") from None
    head = text.partition("\n")[0]
    rows = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        names = [name.strip() for name in next(rows, [])]
        ids = [names.index(name) for name in IDS if name in names]
        if not ids:
            raise UserError(f"{path.name}:1: no column id; it has {printable(', '.join(names)) or 'none'}")
        for row in rows:
            yield from _row(path, rows.line_num, names, [cell.strip() for cell in row], ids[0])
    except csv.Error as e:
        raise UserError(f"{path.name}:{rows.line_num}: {e}") from None


def _row(path: Path, line: int, names: list[str], row: list[str], at: int) -> Iterator[tuple[int, str, str, str]]:
    if not any(row):
        return
    if len(row) != len(names) or not row[at]:
        raise UserError(f"{path.name}:{line}: {len(row)} cells under {len(names)} columns, or no id")
    cells = dict(zip(names, row, strict=True))
    if set(LONG) <= cells.keys():
        yield line, row[at], cells["criterion"], cells["answer"]
        return
    yield from ((line, row[at], name, cell) for name, cell in cells.items() if name not in IDS and cell)
