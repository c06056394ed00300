"""Where in a store a transcript is: what holds it word for word, and what was made with it.

Rows of assessor and slicer name the transcript they belong to. What was made from slices is found by the producers that
manifests name, wherever it is pinned. The same content under another id is the same transcript.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from tuneline.engine.layout import (
    forgotten_key,
    mark_key,
    pinned_by,
    result_key,
    result_of,
    upload_at,
    upload_of,
)
from tuneline.engine.records import Forgotten, Manifest, Mark, Pin, hash_of_id, parse, read, read_all
from tuneline.engine.rows import RowReader, owner, row_files
from tuneline.engine.sources import ReadIds, Source, sources
from tuneline.store.base import Store, in_parallel

SOURCES = ("transcripts", "answers")
"""Given inputs that may hold them."""
MOST_UNPACKED = 1 << 28
WORDS = 60
"""Characters of a message that is looked for word for word: shorter ones are said in many conversations."""
_NUMBER = re.compile(r" [0-9]+$")


class Result(NamedTuple):
    """A result, and the nodes of runs that pin it, as `run/node`."""

    manifest: Manifest
    nodes: tuple[str, ...]

    @property
    def pins(self) -> list[tuple[str, str]]:
        """Run and step of each node."""
        return [(run, step) for run, _, step in (node.partition("/") for node in self.nodes)]

    @property
    def name(self) -> str:
        return f"{self.manifest.stage}/{self.manifest.fingerprint}"

    def made_of(self, port: str) -> str | None:
        """Return the name of the result that this input is, None if no stage made it."""
        record = self.manifest.inputs.get(port)
        return record.producer if record else None

    @property
    def key(self) -> str:
        return result_key(self.manifest.stage, self.manifest.fingerprint)


@dataclass
class Trace:
    """Everything in a store that has to do with some transcripts."""

    ids: list[str]
    """Their ids: those asked for, and others that have the same content."""
    content: set[str]
    """Hashes of what they say."""
    holders: list[tuple[Result, dict[str, int]]] = field(default_factory=list)
    """Results with rows of them, and how many rows each port has."""
    made: list[Result] = field(default_factory=list)
    """What was made from such slices: adapters, model files, conversations with them."""
    marked: set[str] = field(default_factory=set)
    """Names of results that bear the mark: they were made with such transcripts before these were forgotten."""
    journals: dict[str, int] = field(default_factory=dict)
    """Rows by segment."""
    uploads: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    """Addresses outside of the store that the assessor read them from."""
    forgotten: list[str] = field(default_factory=list)
    """Ids that were forgotten before."""
    data_sets: list[Result] = field(default_factory=list)
    """What was published of the judged transcripts alone."""
    words: set[str] = field(default_factory=set)
    """Messages that only they contain, as JSON spells them."""


def trace(store: Store, patterns: Iterable[str], read_ids: ReadIds = lambda _: ()) -> Trace:
    """Find everything that has to do with the transcripts of these ids; `*` and `?` stand for any characters.

    `read_ids` reads people's own files, so that what nobody has judged yet, or a killed run has, is found too.
    """
    wanted, results = list(patterns), list(all_results(store))
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        reader = RowReader(store, Path(folder))
        read = list(sources(store, Path(folder), read_ids))
        found = _named(store, wanted, reader, results, [pair for source in read for pair in source.found])
        names = set(found.ids)
        for result in results:
            counts = _count_rows(reader, result.manifest, names)
            if counts:
                found.holders.append((result, counts))
                found.words |= _words(reader, result.manifest, names)
    _follow(store, found, results)
    holders = {result.name for result, _ in found.holders}
    found.data_sets = [r for r in results if r not in found.made and r.made_of("judged") in holders]
    found.journals = dict(_journal_rows(store, found))
    holding = [source for source in read if any(name in names for name, _ in source.found)]
    _find_sources(store, found, holding)
    return found


def all_results(store: Store) -> Iterator[Result]:
    """Yield every complete result of the store with the nodes that pin it."""
    nodes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in store.list("runs/"):
        if found := pinned_by(entry.key):
            pin = read(Pin, store, entry.key)
            if pin is not None:
                nodes[pin.stage, pin.fingerprint].append(f"{found[0]}/{found[1]}")
    keys = [e.key for e in store.list("results/") if e.key.count("/") == 3 and e.key.endswith("/manifest.json")]
    for key, data in zip(keys, in_parallel(store.get, keys), strict=True):
        name = result_of(key)
        if data is not None and name is not None:
            yield Result(parse(Manifest, data, key), tuple(sorted(nodes[name])))


def _named(
    store: Store, wanted: list[str], reader: RowReader, results: list[Result], given: list[tuple[str, str]]
) -> Trace:
    """Return the ids that are meant, those with the same content too, and the hashes of all of it."""
    known: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for port, record in row_files(result.manifest):
            if port in ("verdicts", "transcripts"):
                for row in reader.rows(record):
                    known[str(owner(row))] |= {str(row["sha256"])} if "sha256" in row else set()
    for name, sha256 in given:
        known[name].add(sha256)
    ids = {name for name in wanted if not _is_pattern(name)}
    ids |= {f"id-{hashlib.sha256(name.encode()).hexdigest()[:16]}" for name in ids} & known.keys()
    ids |= {name for name in known if any(fnmatchcase(name, pattern) for pattern in wanted if _is_pattern(pattern))}
    before = {r.id_sha256: r for r in read_all(Forgotten, store, forgotten_key())}
    forgotten = sorted(name for name in ids if hash_of_id(name) in before)
    content = {sha256 for name in ids for sha256 in known[name]}
    content |= {sha256 for name in forgotten for sha256 in before[hash_of_id(name)].content}
    ids |= {name for name, hashes in known.items() if hashes & content}
    return Trace(sorted(ids), content, forgotten=forgotten)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _count_rows(reader: RowReader, manifest: Manifest, names: set[str]) -> dict[str, int]:
    counts = Counter(port for port, record in row_files(manifest) for row in reader.rows(record) if owner(row) in names)
    return dict(counts)


def _words(reader: RowReader, manifest: Manifest, names: set[str]) -> set[str]:
    """Return the long messages that these transcripts, and no others beside them, contain."""
    mine: set[str] = set()
    others: set[str] = set()
    for port, record in row_files(manifest):
        for row in reader.rows(record) if port == "transcripts" else ():
            said = [row.get("greeting"), *(text for exchange in row.get("exchanges", ()) for text in exchange.values())]
            long = {text for text in said if isinstance(text, str) and len(text) >= WORDS}
            (mine if owner(row) in names else others).update(long)
    return {json.dumps(text, ensure_ascii=False)[1:-1] for text in mine - others}


def _follow(store: Store, found: Trace, results: list[Result]) -> None:
    """Add what was made from slices of these transcripts, also from slices that are gone."""
    users: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        for record in result.manifest.inputs.values():
            stage, _, digests = (record.producer or "").partition("/")
            for digest in digests.split("+"):
                users[f"{stage}/{digest}"].append(result)
    removed = [r for r in read_all(Forgotten, store, forgotten_key()) if r.id_sha256 in map(hash_of_id, found.ids)]
    todo = [result.name for result, counts in found.holders if "slices" in counts]
    todo += [name for record in removed for name in record.removed]
    seen: set[str] = {result.name for result, _ in found.holders}
    while todo:
        for result in users[todo.pop()]:
            if result.name not in seen:
                seen.add(result.name)
                todo.append(result.name)
                found.made.append(result)
    hashes = set(map(hash_of_id, found.ids))
    for result in results:
        mark = read(Mark, store, mark_key(result.manifest.stage, result.manifest.fingerprint))
        if mark is not None and hashes & set(mark.transcripts):
            found.marked.add(result.name)
            found.made += [result] if result.name not in seen else []
    found.made.sort(key=lambda result: result.manifest.finished_at)


def _journal_rows(store: Store, found: Trace) -> Iterator[tuple[str, int]]:
    keys = [entry.key for entry in store.list("journals/")]
    for start in range(0, len(keys), 16):
        some = keys[start : start + 16]
        for key, data in zip(some, in_parallel(store.get, some), strict=True):
            count = sum(is_of(line, found) for line in (data or b"").splitlines())
            if count:
                yield key, count


def is_of(line: bytes, found: Trace) -> bool:
    """Tell whether a row of a journal is of these transcripts, or repeats them.

    Its key is an id or a hash of what they say, with a number from a judge's second answer on; or it names such a hash.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    key, row = (str(entry.get("key")), entry.get("row")) if isinstance(entry, dict) else ("", None)
    names = [key]
    if isinstance(row, dict) and "status" in row:  # an answer of a judge
        names.append(_NUMBER.sub("", key))
    if isinstance(row, dict) and isinstance(row.get("about"), str):
        names.append(row["about"])
    mine = any(name in found.content or name in found.ids for name in names)
    return mine or repeats(line.decode(), found.words)


def repeats(text: str, words: Iterable[str]) -> bool:
    """Tell whether a text contains one of these messages."""
    return any(message in text for message in words)


def _find_sources(store: Store, found: Trace, read: list[Source]) -> None:
    """Say where the assessor read them and what was said about them: uploads of this store, addresses elsewhere."""
    read_from = (result.manifest.inputs.get(port) for result, _ in found.holders for port in SOURCES)
    here = {r.uri: upload_at(r.uri, store.uri) for r in read_from if r and r.uri}
    scanned = (e.key for port in SOURCES for e in store.list(f"uploads/{port}-"))  # also what cannot be read
    spelt = [json.dumps(name, ensure_ascii=ascii).encode() for name in found.ids for ascii in (True, False)]
    holding = {upload_of(key) for key in scanned if any(one in _plain(store.get(key)) for one in spelt)}
    found.uploads = sorted(name for name in {*here.values(), *holding, *(source.upload for source in read)} if name)
    outside = {uri for uri, name in here.items() if not name and "/results/" not in uri}
    found.given = sorted(outside | {source.uri for source in read if source.uri})


def _plain(data: bytes | None) -> bytes:
    """Return what a small file holds, unpacked."""
    if data is None or data[:2] != b"\x1f\x8b":
        return data or b""
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as file:
            return file.read(MOST_UNPACKED)
    except (OSError, EOFError, zlib.error):  # whoever reads it as transcripts says so
        return b""
