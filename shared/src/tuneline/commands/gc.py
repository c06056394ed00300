"""Removes from a store what no run pins and what killed attempts left behind."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import NamedTuple

from tuneline.engine.layout import result_key
from tuneline.engine.records import InputPin, Manifest, Pin
from tuneline.store.base import Entry, Store

DAY_SECONDS = 86_400.0


class Swept(NamedTuple):
    """What a collection removed: results, files (theirs included), and bytes."""

    results: int
    files: int
    size: int


def collect(store: Store, days: float, *, dry_run: bool = False) -> Swept:
    """Remove results that no pin names, and attempts and checkpoints outside of any result, if older than `days`.

    A result's manifest goes first, so that nobody finds it half removed; pins are read again before its files go, and
    the manifest is put back if one names it by then. An upload goes when no input pin names it and nobody has uploaded
    it for so long; to upload it again brings it back. Journals and inputs records are kept: they are small, and the
    first were paid for.
    """
    before = time.time() - days * DAY_SECONDS
    pinned = _pinned(store)
    results = removed = size = 0
    for (stage, digest), entries in _results(store).items():
        condemned = _doomed(store, stage, digest, entries, before, is_pinned=(stage, digest) in pinned)
        if condemned and not dry_run:
            condemned = _remove(store, stage, digest, condemned)
        results += any(e.key.endswith("/manifest.json") for e in condemned)
        removed += len(condemned)
        size += sum(e.size for e in condemned)
    condemned = _unwanted_uploads(store, before)
    removed += len(condemned)
    size += sum(e.size for e in condemned)
    if not dry_run:
        store.delete(e.key for e in condemned)
        removed += store.sweep(days * DAY_SECONDS)
    return Swept(results, removed, size)


def _pinned(store: Store) -> set[tuple[str, str]]:
    pinned = set()
    for entry in store.list("runs/"):
        parts = entry.key.split("/")
        if len(parts) == 3 and entry.key.endswith(".json") and (data := store.get(entry.key)) is not None:
            pin = Pin.model_validate_json(data)
            pinned.add((pin.stage, pin.fingerprint))
    return pinned


def _results(store: Store) -> dict[tuple[str, str], list[Entry]]:
    results: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in store.list("results/"):
        _, stage, digest, *_ = entry.key.split("/")
        results[stage, digest].append(entry)
    return results


def _doomed(
    store: Store, stage: str, digest: str, entries: list[Entry], before: float, *, is_pinned: bool
) -> list[Entry]:
    data = store.get(result_key(stage, digest, "manifest.json"))
    youngest = max(e.modified for e in entries)
    if data is None:  # attempts and checkpoints of a result that nobody finished
        return entries if youngest < before else []
    if not is_pinned and youngest < before:
        return entries
    manifest = Manifest.model_validate_json(data)
    listed = {record.key for output in manifest.outputs.values() for record in output.files.values()}
    listed.add(result_key(stage, digest, "manifest.json"))
    return [e for e in entries if e.key not in listed and e.modified < before]


def _remove(store: Store, stage: str, digest: str, entries: list[Entry]) -> list[Entry]:
    key = result_key(stage, digest, "manifest.json")
    if any(e.key == key for e in entries):
        manifest = store.get(key)
        store.delete([key])
        if (stage, digest) in _pinned(store) and manifest is not None:
            store.put(key, manifest, if_absent=True)
            return []
    store.delete(e.key for e in entries)
    return entries


def _unwanted_uploads(store: Store, before: float) -> list[Entry]:
    uploads: dict[str, list[Entry]] = defaultdict(list)
    for entry in store.list("uploads/"):
        uploads[entry.key.split("/")[1].removesuffix(".json")].append(entry)
    old = {name: entries for name, entries in uploads.items() if max(e.modified for e in entries) < before}
    pinned = _pinned_uploads(store) if old else set()
    return [entry for name, entries in old.items() if name not in pinned for entry in entries]


def _pinned_uploads(store: Store) -> set[str]:
    pinned, here = set(), f"{store.uri}/uploads/"
    for entry in store.list("runs/"):
        if entry.key.split("/")[2:3] == ["inputs"] and (data := store.get(entry.key)) is not None:
            uri = InputPin.model_validate_json(data).uri
            if uri is not None and uri.startswith(here):
                pinned.add(uri.removeprefix(here).split("/")[0])
    return pinned
