"""What people answered, in a file of theirs: JSON Lines as for the judge `recorded`, or CSV.

A CSV has a column `id` and one column per criterion (an empty cell is no answer), or the columns `id`, `criterion` and
`answer`, with one answer per line. With a column `rater` several people may have answered: what more than half of them
say counts, and where nobody has so many, there is no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tuneline.commands.agreement import Answers
from tuneline.data.reading.ids import as_id
from tuneline.data.text.rules import Answer
from tuneline.errors import UserError
from tuneline.judge.recorded.files import IDS, Place, read_csv
from tuneline.judge.recorded.judge import read_recorded
from tuneline.judge.recorded.rows import ANSWER, CRITERION, REASON, plain_key, read_given
from tuneline.parsing.problems import MAX_PROBLEMS, did_you_mean, printable, shortened

MAX_BYTES = 256 << 20

_RATER = {"rater", "annotator", "labeler", "labeller", "reviewer", "coder", "labeled_by", "labelled_by"}
_BESIDE = {*_RATER, *REASON, "comments", "note", "notes", "date", "timestamp", "time", "created_at", "text"}
"""Columns that are no criteria where what stands in them is no answer."""


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
        raise UserError(
            f"labels: none of {len(labels)} ids ({shortened(sorted(labels))}) is one of the {len(judged)} judged "
            f"transcripts ({shortened(sorted(judged))}): an id is written as it stands there"
        )


def _read_csv(path: Path) -> dict[str, dict[str, Answer]]:
    votes: dict[str, dict[str, dict[str, Answer]]] = {}
    problems: list[str] = []
    for place, name, rater, criterion, cell in _cells(path):
        answer = read_given(cell)
        if answer == "?" and plain_key(criterion) not in _BESIDE:
            problems.append(f"{place}: {printable(criterion)}: must be YES, NO or NA")
        elif answer in ("YES", "NO", "NA"):
            said = votes.setdefault(name, {}).setdefault(criterion, {})
            if said.setdefault(rater, answer) != answer:
                problems.append(f"{place}: {printable(criterion)}: `{printable(name)}` has another answer already")
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise UserError("\n".join(problems))
    if not votes:
        raise UserError(f"{path.name}: no answers; a table of labels has a column id and one for each criterion")
    return {name: dict(_majority(row)) for name, row in votes.items()}


def _majority(row: Mapping[str, Mapping[str, Answer]]) -> Iterator[tuple[str, Answer]]:
    for criterion, said in row.items():
        answer, count = Counter(said.values()).most_common(1)[0]
        if count > len(said) / 2:
            yield criterion, answer


def _cells(path: Path) -> Iterator[tuple[Place, str, str, str, str]]:
    """Yield place, id, rater, criterion and answer of every cell that holds one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path.name}: more than {MAX_BYTES >> 20} MiB of labels")
        data = path.read_bytes()
    except OSError as e:
        raise UserError(f"labels: {path.name} cannot be read: {e.strerror}") from None
    for place, columns, cells in read_csv(path.name, data):
        row = dict(zip(columns, cells, strict=False))
        key = next((name for name in IDS if name in columns), None)
        if key is None:
            raise UserError(f"{path.name}:1: no column id; it has {printable(', '.join(columns))}")
        if len(cells) < len(columns) or not row[key]:
            raise UserError(f"{place}: {len(cells)} cells under {len(columns)} columns, or no id")
        transcript = as_id(row[key]).id
        rater = next((row[name] for name in columns if plain_key(name) in _RATER and name in row), "")
        criterion, answer = (next((n for n in names if n in row), None) for names in (CRITERION, ANSWER))
        if criterion and answer:
            yield place, transcript, rater, row[criterion], row[answer]
        else:
            cells_of = ((name, cell) for name, cell in row.items() if name not in IDS and cell)
            yield from ((place, transcript, rater, name, cell) for name, cell in cells_of)
