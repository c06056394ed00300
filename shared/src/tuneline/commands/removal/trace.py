"""What is known of some transcripts in a store, for people and for programs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from tuneline.data.io import read_record
from tuneline.data.published import Published
from tuneline.data.reading.repairs import Tools
from tuneline.data.transcripts import MAX_KEPT, read_transcripts
from tuneline.engine.layout import upload_place
from tuneline.engine.lineage import Result, Trace
from tuneline.engine.rows import RowReader
from tuneline.errors import UserError
from tuneline.parsing.problems import printable, shortened
from tuneline.store.base import Store
from tuneline.store.verify import plain_errors

log = structlog.get_logger()

MOST_SHOWN = 20
MOST_BYTES = 64 << 20


def read_ids(ids: list[str] | None, file: Path | None) -> list[str]:
    """Return the ids of a command line and those of a file, one per line. Raises UserError if there are none."""
    found = list(ids or ())
    if file is not None:
        with plain_errors(file):
            data = file.read_bytes() if file.stat().st_size <= MOST_BYTES else b"\xff"
        try:
            found += [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise UserError(f"{printable(str(file))}: is no text file with an id on each line.") from None
    if not found or not all(found):
        where = f"{printable(str(file))}: holds no id. " if file else ""
        raise UserError(f"{where}Name at least one id of a transcript, or a file of ids with --from.")
    return found


def ids_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and hash of each transcript in people's own files, whatever a run does about tools."""
    choices: tuple[Tools, ...] = ("drop", "keep")
    for tools in choices:
        try:
            for transcript in read_transcripts(path, MAX_KEPT, tools, joined=False).transcripts:
                yield transcript.id, transcript.sha256
        except UserError:
            log.warning("these transcripts cannot be read: whether it is among them is not known", path=str(path))
            return


def published(store: Store, found: Trace) -> list[str]:
    """Return the addresses to which the models went that were made with them, and data sets that may hold them."""
    addresses = set()
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        reader = RowReader(store, Path(folder))
        for result in (*found.made, *found.data_sets):
            port = result.manifest.outputs.get("published")
            for record in port.files.values() if port else ():
                packages = read_record(reader.path(record), Published).packages
                addresses |= {p.address for p in packages if p.name == "dataset" or result in found.made}
    return sorted(addresses)


def trace_lines(store: Store, found: Trace) -> Iterator[str]:
    """Yield a table: what it is, where it is pinned or lies, and what it has of the transcripts."""
    return map(printable, _lines(store, found))


def _lines(store: Store, found: Trace) -> Iterator[str]:
    yield f"{len(found.ids)} transcript{'s' * (len(found.ids) != 1)}: {shortened(found.ids, MOST_SHOWN)}"
    for result, counts in found.holders:
        rows = ", ".join(f"{count} of {port}" for port, count in counts.items())
        yield _line("holds", _where(result), f"rows: {rows}")
    for result in found.made:
        mark = "; marked as made with what was forgotten" if result.name in found.marked else ""
        yield _line("made with", _where(result), ", ".join(result.manifest.outputs) + mark)
    for key, count in found.journals.items():
        yield _line("holds", key, f"rows: {count}")
    for name in found.uploads:
        yield _line("holds", upload_place(name), "what you uploaded")
    for uri in found.given:
        yield _line("read from", uri, "not in this store")
    for address in published(store, found):
        yield _line("published", address, "not in this store")
    if found.forgotten:
        yield f"{len(found.forgotten)} of them forgotten before"
    if not (found.holders or found.made or found.journals or found.uploads):
        yield "Nothing in this store holds them or was made with them."


def _line(verb: str, where: str, what: str) -> str:
    return f"  {verb:9}  {where:32}  {what}"


def _where(result: Result) -> str:
    return ", ".join(result.nodes) or f"{result.key} (no run)"


def to_json(store: Store, found: Trace) -> str:
    """Return the same as JSON, with the addresses of all results in the store."""
    return json.dumps(
        {
            "ids": found.ids,
            "forgotten": found.forgotten,
            "holds": [_of(result) | {"rows": counts} for result, counts in found.holders],
            "made_with": [
                _of(result) | {"outputs": list(result.manifest.outputs), "marked": result.name in found.marked}
                for result in found.made
            ],
            "journals": found.journals,
            "uploads": found.uploads,
            "given": found.given,
            "published": published(store, found),
        },
        indent=1,
        ensure_ascii=False,
    )


def _of(result: Result) -> dict[str, object]:
    return {"stage": result.manifest.stage, "key": result.key, "pinned_as": list(result.nodes)}
