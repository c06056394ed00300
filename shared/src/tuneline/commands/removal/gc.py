"""Removes from a store what no run pins and what killed attempts left behind."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import structlog

from tuneline.engine.layout import (
    is_input_pin,
    is_sign_of_life,
    manifest_key,
    mark_key,
    pinned_by,
    result_of,
    upload_at,
    upload_of,
)
from tuneline.engine.records import InputPin, Manifest, Pin, R, parse
from tuneline.errors import UserError
from tuneline.store.base import Entry, Store, in_parallel

DAY_SECONDS = 86_400.0

log = structlog.get_logger()


class Swept(NamedTuple):
    """What a collection removed: results, files (theirs included), and bytes."""

    results: int
    files: int
    size: int


class _Result(NamedTuple):
    stage: str
    digest: str
    entries: list[Entry]

    @property
    def manifest_key(self) -> str:
        return manifest_key(self.stage, self.digest)

    @property
    def modified(self) -> float:
        return max(e.modified for e in self.entries)


class _Pinned(NamedTuple):
    """The results that runs name, and the stages of pins that cannot be read: all their results stay."""

    results: set[tuple[str, str]]
    stages: set[str]

    def names(self, result: _Result) -> bool:
        return result.stage in self.stages or (result.stage, result.digest) in self.results


def collect(store: Store, days: float, *, dry_run: bool = False) -> Swept:
    """Remove results that no pin names, and attempts and checkpoints outside of any result, if older than `days`.

    Manifests go first, so that nobody finds a result half removed; pins are read again before the files go, and the
    manifest of what one names by then is put back. An upload goes when no input pin names it and nobody has uploaded it
    for so long; to upload it again brings it back. Journals and inputs records are kept: they are small, and the first
    were paid for. Foreign files stay, and what a damaged or newer record may name.
    """
    before = time.time() - days * DAY_SECONDS
    results, pinned = _results(store), _pinned(store)
    doomed = [r for r in results if r.modified < before and not pinned.names(r)]
    kept = [r for r in results if r.modified >= before or pinned.names(r)]
    if not dry_run:
        doomed = _without_manifests(store, doomed)
    condemned = [e for r in doomed for e in r.entries]
    condemned += [e for left in in_parallel(lambda r: _leftovers(store, r, before), kept) for e in left]
    condemned += _unwanted_uploads(store, before)
    condemned += [e for e in store.list("runs/") if is_sign_of_life(e.key) and e.modified < before]
    files, size = len(condemned), sum(e.size for e in condemned)
    gone = {r.manifest_key for r in doomed}  # what stands there by now is another attempt's
    if not dry_run:
        store.delete(e.key for e in condemned if e.key not in gone)
        files += store.sweep(days * DAY_SECONDS)
    return Swept(sum(e.key in gone for e in condemned), files, size)


def _results(store: Store) -> list[_Result]:
    results: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in store.list("results/"):
        if found := result_of(entry.key):
            results[found].append(entry)
        else:
            log.warning("foreign file kept", file=repr(f"{store.uri}/{entry.key}"))
    return [_Result(*name, entries) for name, entries in results.items()]


def _pinned(store: Store) -> _Pinned:
    pinned = _Pinned(set(), set())
    for key, pin in _records(store, pinned_by, Pin):
        if pin is not None:
            pinned.results.add((pin.stage, pin.fingerprint))
        elif found := pinned_by(key):
            pinned.stages.add(found[1].stage)
    return pinned


def _records(store: Store, wanted: Callable[[str], object], model: type[R]) -> Iterator[tuple[str, R | None]]:
    """Yield the key and content of each record of the runs; None for one that this version cannot read."""
    found = [entry.key for entry in store.list("runs/") if wanted(entry.key)]
    for key, data in zip(found, in_parallel(store.get, found), strict=True):
        if data is not None:
            yield key, _read(store, key, data, model)


def _read(store: Store, key: str, data: bytes, model: type[R]) -> R | None:
    try:
        return parse(model, data, key)
    except UserError as e:
        log.warning("unreadable record: all that it may name is kept", file=repr(f"{store.uri}/{key}"), cause=str(e))
        return None


def _leftovers(store: Store, result: _Result, before: float) -> list[Entry]:
    """Return what a result that stays does not list, or all of one that nobody finished, if it is old."""
    old = [e for e in result.entries if e.modified < before]
    if all(e.key == result.manifest_key for e in old):
        return []
    data = store.get(result.manifest_key)
    if data is None:
        return old if result.modified < before else []
    manifest = _read(store, result.manifest_key, data, Manifest)
    if manifest is None:
        return []
    listed = manifest.keys | {result.manifest_key, mark_key(result.stage, result.digest)}
    return [e for e in old if e.key not in listed]


def _without_manifests(store: Store, doomed: list[_Result]) -> list[_Result]:
    """Remove the manifests; return all results but those that a run has pinned meanwhile, whose manifests are back."""
    keys = [r.manifest_key for r in doomed]
    manifests = in_parallel(store.get, keys)
    store.delete(key for key, data in zip(keys, manifests, strict=True) if data is not None)
    pinned, gone = _pinned(store), []
    for result, data in zip(doomed, manifests, strict=True):
        if data is not None and pinned.names(result):
            store.put(result.manifest_key, data, if_absent=True)
        else:
            gone.append(result)
    return gone


def _unwanted_uploads(store: Store, before: float) -> list[Entry]:
    uploads: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list("uploads/"):
        if name := upload_of(entry.key):
            uploads[name].append(entry)
    old = {name: entries for name, entries in uploads.items() if max(e.modified for e in entries) < before}
    pinned = set()
    for _, pin in _records(store, is_input_pin, InputPin) if old else ():
        if pin is None:
            return []
        pinned.add(upload_at(str(pin.uri), store.uri))
    return [entry for name, entries in old.items() if name not in pinned for entry in entries]
