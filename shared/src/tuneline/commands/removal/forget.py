"""Takes transcripts out of a store: their rows, slices, judgements and uploads; marks what was made with them.

The order makes it safe to kill and repeat: first a record that keeps them out of every later run and names what held
them, then the marks, then everything that is found by its content, and last the results that say what is to be found.
"""

from __future__ import annotations

import fcntl
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from tuneline.commands.removal.rebuild import SLICER, is_stale, rebuilt
from tuneline.engine.layout import (
    forgotten_key,
    manifest_key,
    mark_key,
    new_attempt,
    pin_key,
    result_key,
    run_key,
    upload_place,
)
from tuneline.engine.lineage import Result, Trace, all_results, is_of, repeats
from tuneline.engine.records import Forgotten, Manifest, Mark, OutputRecord, hash_of_id, now, read
from tuneline.engine.rows import RowReader, owner
from tuneline.engine.runner import link_outputs
from tuneline.errors import Temporary
from tuneline.stage import Json
from tuneline.store.base import Store, is_local, local_path

_SINCE = re.compile(r"; \d+ forgotten since$")


def forget(store: Store, found: Trace) -> Iterator[str]:
    """Take the transcripts out; yield what was done. Raises Temporary, before anything, while a run is at work."""
    refuse_running(store)
    _record(store, found)
    marked = [result for result in found.made if not _repeats(store, result, found)]
    _mark(store, marked, found)
    yield from (f"marked, to be trained again: {_shown(result)}" for result in marked)
    yield from _clean_journals(store, found)
    yield from _remove_uploads(store, found)
    for result in found.made:
        if result not in marked:
            _remove(store, result)
            yield f"removed, because it repeats their words: {_shown(result)}"
    for result, _ in found.holders:
        if result.manifest.stage != SLICER:
            yield _rewrite(store, result, found) if result.nodes else _removed(store, result)
    yield from _rebuild(store, found)


def refuse_running(store: Store) -> None:
    """Raise Temporary if a stage works on this machine's store; elsewhere nobody can know."""
    if not is_local(store.uri):
        return
    for lock in (local_path(store.uri) / "scratch").glob("*/running.lock"):
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Temporary("A run is at work in this store. Stop it or wait, then forget.") from None


def _shown(result: Result) -> str:
    """Name a result as people know it, or by its place."""
    return ", ".join(result.nodes) or result.key


def _record(store: Store, found: Trace) -> None:
    """Write down who is forgotten, and which results held them: what is made from these later is found too."""
    held = [result.name for result, counts in found.holders if "slices" in counts]
    for name in found.ids:
        key = forgotten_key(hash_of_id(name))
        old = read(Forgotten, store, key)
        content = sorted(found.content | set(old.content if old else ()))
        removed = sorted({*held, *(old.removed if old else ())})
        record = Forgotten(
            id_sha256=hash_of_id(name),
            content=content,
            removed=removed,
            forgotten_at=old.forgotten_at if old else now(),
        )
        store.put(key, record.to_bytes())


def _mark(store: Store, made: Sequence[Result], found: Trace) -> None:
    for result in made:
        key = mark_key(result.manifest.stage, result.manifest.fingerprint)
        old = read(Mark, store, key)
        names = sorted({*map(hash_of_id, found.ids), *(old.transcripts if old else ())})
        if old is None or names != old.transcripts:
            store.put(key, Mark(transcripts=names).to_bytes())


def _repeats(store: Store, result: Result, found: Trace) -> bool:
    """Tell whether a text among a result's files contains one of the messages."""
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        reader = RowReader(store, Path(folder))
        for output in result.manifest.outputs.values():
            for name, record in output.files.items():
                if name.endswith((".jsonl", ".json", ".md", ".html")):
                    with reader.path(record).open(encoding="utf-8", errors="replace") as lines:
                        if any(repeats(line, found.words) for line in lines):
                            return True
    return False


def _clean_journals(store: Store, found: Trace) -> Iterator[str]:
    """Write each segment anew without their rows, under a name that no segment ever had, then remove the old one."""
    attempt = new_attempt()
    for number, (key, count) in enumerate(found.journals.items()):
        lines = (store.get(key) or b"").splitlines(keepends=True)
        kept = b"".join(line for line in lines if not is_of(line, found))
        if kept:
            store.put(f"{key.rpartition('/')[0]}/{attempt}-{number}.jsonl", kept)
        store.delete([key])
        yield f"removed from a journal: {count} row{'s' * (count > 1)} of {key}"


def _remove_uploads(store: Store, found: Trace) -> Iterator[str]:
    for name in found.uploads:
        place = upload_place(name)
        store.delete([f"{place}.json", *(entry.key for entry in store.list(f"{place}/"))])
        yield f"removed: {place}. Take them out of your own files, then upload these again."


def _rebuild(store: Store, found: Trace) -> Iterator[str]:
    """Cut slices again wherever they held one, or were cut from what has changed."""
    held = {result.name for result, _ in found.holders}
    for result in [r for r in all_results(store) if r.manifest.stage == SLICER]:
        if result.name in held or is_stale(store, result.manifest):
            failed = []
            for node, why in rebuilt(store, result):
                failed += [node] if why else []
                yield f"{node}: not cut again ({why}). Run its run file again." if why else f"{node}: cut again"
            _remove(store, result._replace(nodes=tuple(failed)))


def _removed(store: Store, result: Result) -> str:
    _remove(store, result)
    return f"removed: {_shown(result)}"


def _remove(store: Store, result: Result) -> None:
    """Remove a result and the pins that name it, the manifest first."""
    stage, digest = result.manifest.stage, result.manifest.fingerprint
    store.delete([pin_key(*pin) for pin in result.pins])
    store.delete([manifest_key(stage, digest)])
    store.delete([entry.key for entry in store.list(result_key(stage, digest, ""))])
    _remove_links(store, result)


def _remove_links(store: Store, result: Result) -> None:
    if is_local(store.uri):
        for pin in result.pins:
            for link in (local_path(store.uri) / run_key(*pin)).glob("*"):
                if link.is_symlink() and not link.exists():
                    link.unlink()


def _rewrite(store: Store, result: Result, found: Trace) -> str:
    """Write a result's files again without their rows, then the manifest that names these, then remove the rest."""
    manifest, names, attempt = result.manifest, set(found.ids), new_attempt()
    outputs: dict[str, OutputRecord] = {}
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        reader = RowReader(store, Path(folder))
        for port, output in manifest.outputs.items():
            key = result_key(manifest.stage, manifest.fingerprint, attempt, output.path)
            record, new, outputs[port] = next(iter(output.files.values())), Path(folder) / f"new-{port}", output
            if output.kind != "folder" and _write_without(reader.path(record), output.path, new, names):
                written = store.upload(new, key)
                changed = {"sha256": written.sha256, "files": {output.path: written}}
                outputs[port] = output.model_copy(update=changed)
    counts: dict[str, Json] = dict(manifest.metrics.counts)
    before = counts.get("forgotten")
    counts["forgotten"] = len(names) + (before if isinstance(before, int) else 0)
    headline = f"{_SINCE.sub('', manifest.metrics.headline)}; {counts['forgotten']} forgotten since"
    metrics = manifest.metrics.model_copy(update={"headline": headline, "counts": counts})
    new_manifest = manifest.model_copy(update={"outputs": outputs, "metrics": metrics})
    store.put(manifest_key(manifest.stage, manifest.fingerprint), new_manifest.to_bytes())
    _remove_unlisted(store, new_manifest)
    for run, step in result.pins:
        link_outputs(store, run, step, new_manifest, attempt)
    return f"written again without them: {_shown(result)}"


def _remove_unlisted(store: Store, manifest: Manifest) -> None:
    stage, digest = manifest.stage, manifest.fingerprint
    kept = manifest.keys | {manifest_key(stage, digest), mark_key(stage, digest)}
    store.delete([e.key for e in store.list(result_key(stage, digest, "")) if e.key not in kept])


def _write_without(path: Path, name: str, new: Path, names: set[str]) -> bool:
    """Write a file of rows or of JSON, as its name says, without what belongs to these ids; False if nothing does."""
    if name.endswith(".jsonl"):
        with path.open("rb") as lines, new.open("wb") as kept:
            rows = 0
            for line in lines:
                mine = owner(json.loads(line)) in names
                rows += mine
                kept.write(b"" if mine else line)
        return rows > 0
    if not name.endswith(".json"):  # a page for people, which names examples
        text = path.read_text(encoding="utf-8")
        shown = {escape(name, quote=quote) for name in names for quote in (True, False)} | names
        named = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(shown)))})(?![\w-])")
        new.write_text(named.sub("(forgotten)", text), encoding="utf-8")
        return named.search(text) is not None
    before = json.loads(path.read_bytes())
    after = _without(before, names)
    listed = after.get("transcripts") if isinstance(after, dict) else None
    if isinstance(after, dict) and isinstance(listed, list) and "count" in after:
        after["count"] = len(listed)
    new.write_text(json.dumps(after, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return bool(after != before)


def _without(value: Json, names: set[str]) -> Json:
    """Return JSON without the items of lists and the keys that are these ids, or objects that belong to one."""
    if isinstance(value, list):
        return [_without(item, names) for item in value if not _belongs(item, names)]
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return value


def _belongs(item: Json, names: set[str]) -> bool:
    return item in names if isinstance(item, str) else isinstance(item, dict) and owner(item) in names
