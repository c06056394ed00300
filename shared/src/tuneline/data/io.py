"""Files that travel between stages: one record, or one record per line; complete, or not there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import structlog
from pydantic import BaseModel, StringConstraints, ValidationError

from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline.stage import Closed as Closed  # noqa: PLC0414  (of the parts of such files)
from tuneline.stage import Journal

R = TypeVar("R", bound=BaseModel)

log = structlog.get_logger()

Id = Annotated[str, StringConstraints(pattern=r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$")]
"""What a transcript or a slice is called, in messages too: one line, all of it to be seen."""


def read_record(path: Path, kind: type[R]) -> R:
    """Read a file that holds one record. Raises UserError that names the field which is not as its stage writes it."""
    return _record(path.read_bytes(), kind, path.name)


def read_lines(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the record of each line. Raises UserError that names the first line and field at fault."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            yield _record(line, kind, f"{path.name}:{number}")


def read_row(journal: Journal, key: str, kind: type[R]) -> R | None:
    """Return what a journal keeps under `key`; None if there is nothing, or something else, which the log then says."""
    row = journal.get(key)
    try:
        return None if row is None else kind.model_validate(row)
    except ValidationError:
        log.warning("a row of the journal is not what was written: passed over", key=key)
        return None


def write_record(path: Path, record: BaseModel) -> None:
    """Write a file that holds one record."""
    _write(path, [record.model_dump_json(indent=1)])


def write_lines(path: Path, records: Iterable[BaseModel]) -> None:
    """Write one record per line, without the fields that are None by default."""
    _write(path, (record.model_dump_json(exclude_unset=True) for record in records))


def file_sha256(path: Path) -> str:
    """Return the hash of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(data: bytes, kind: type[R], where: str) -> R:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        # Never the value, which may quote a transcript; nor a key that is not ours.
        first = error.errors(include_input=False, include_url=False)[0]
        field = printable(".".join(map(str, first["loc"]))) if first["type"] != "extra_forbidden" else "a foreign key"
        problem = f"{field or 'content'}: {first['type'].replace('_', ' ')}"
        raise UserError(f"{where}: {problem}. Let its stage make the file again.") from None


def _write(path: Path, lines: Iterable[str]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    part.rename(path)
