"""What a run did, for people; and its outputs, fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuneline.commands.costs import ledger_lines, ledger_of, spent_in_words
from tuneline.engine.layout import mark_key, pinned_by, run_key
from tuneline.engine.ledger import spendings
from tuneline.engine.records import Failure, Manifest, Mark, pinned_manifest, read
from tuneline.errors import UserError
from tuneline.parsing.problems import nearest, printable, shortened
from tuneline.stage import Cost, InputRecord, dollars, rounded
from tuneline.store.base import Store, in_parallel, is_local, local_path

MOST_NAMED = 20
"""Runs that a refusal names; a store may have thousands."""


def results_of(store: Store, run: str) -> dict[str, Manifest]:
    """Return the results that a run pins, by node, oldest first. Raises UserError when there is no such run."""
    found = pinned_of(store, run)
    if not found and not failures_of(store, run) and not spendings(store, run):
        raise no_run(store, run)
    return dict(sorted(found.items(), key=lambda item: item[1].finished_at))


def names_of(store: Store) -> list[str]:
    """Return the names of all runs of a store, sorted."""
    return sorted({entry.key.split("/")[1] for entry in store.list(run_key(""))})


def no_run(store: Store, run: str) -> UserError:
    """Return the refusal of a run that is not there, with those that are."""
    names = names_of(store)
    meant = nearest(run, names)
    hint = f"; did you mean {meant}?" if meant else ""
    return UserError(f"no run {run} in {store.uri}; it has {shortened(names, MOST_NAMED) or 'no runs'}{hint}")


def pinned_of(store: Store, run: str) -> dict[str, Manifest]:
    """Return the results that a run pins, by node; empty if it pins none."""
    nodes = [pinned[1] for entry in store.list(run_key(run, "")) if (pinned := pinned_by(entry.key))]
    found = zip(nodes, in_parallel(lambda node: pinned_manifest(store, run, node), nodes), strict=True)
    return {str(node): manifest for node, manifest in found if manifest is not None}


def run_lines(store: Store, run: str) -> Iterator[str]:
    """Yield a page about a run: for each stage what it read, wrote and took, and how it failed last."""
    return map(printable, _lines(store, run))


def _lines(store: Store, run: str) -> Iterator[str]:
    results = results_of(store, run)
    for node, manifest in results.items():
        yield f"{node}  {manifest.fingerprint[:12]}  {manifest.seconds} s{_spent(manifest.metrics.cost)}"
        yield f"  {manifest.metrics.headline}"
        if note := forgotten_note(store, manifest):
            yield f"  {note}"
        for name, record in manifest.inputs.items():
            yield _line("read", name, record.sha256, record.size) + f"  {_origin(record)}"
        for name, output in manifest.outputs.items():
            yield _line("wrote", name, output.sha256, output.size)
        yield ""
    yield from ledger_lines(ledger_of(store, run, results))
    for failure in failures_of(store, run):
        why = failure.message or " at ".join([failure.type, *failure.frames[-1:]])
        yield from f"{failure.stage}  failed {failure.failed_at}: {why}".split("\n")


def forgotten_note(store: Store, manifest: Manifest) -> str:
    """Say how many of the transcripts that a result was made with were forgotten since; empty if none was."""
    mark = read(Mark, store, mark_key(manifest.stage, manifest.fingerprint))
    count = len(mark.transcripts) if mark else 0
    return f"Made with {count} transcript{'s' * (count > 1)} forgotten since: train it again." if count else ""


def _spent(cost: Cost) -> str:
    total, now = dollars(cost.total_usd), dollars(cost.now_usd)
    return f"  {total}, {now} of it in the last attempt" if cost.total_usd else ""


def _line(verb: str, name: str, sha256: str, count: int) -> str:
    return f"  {verb:5}  {name:16}  {sha256[:8]}  {size(count):>8}"


def essence(store: Store, run: str, node: str, manifest: Manifest) -> dict[str, str]:
    """Return what a result came to: its `headline`, by port where its pages lie, and the run's `cost` if it had any."""
    spent = spent_in_words(ledger_of(store, run, pinned_of(store, run)))
    cost = {"cost": printable(spent)} if spent else {}
    return {"headline": headline_of(store, manifest), **cost, **pages_of(store, run, node, manifest)}


def headline_of(store: Store, manifest: Manifest) -> str:
    """Return a result's headline in one line, with what `forgotten_note` says of it."""
    return printable(" ".join([*manifest.metrics.headline.split(), forgotten_note(store, manifest)]).strip())


def pages_of(store: Store, run: str, node: str, manifest: Manifest) -> dict[str, str]:
    """Return by port where a result's pages for people lie: a path, or an address in the store."""
    places = {}
    for name, output in manifest.outputs.items():
        if output.kind == "page":
            key = next(iter(output.files.values())).key
            link = run_key(run, node, output.path)
            places[name] = str(local_path(store.uri) / link) if is_local(store.uri) else f"{store.uri}/{key}"
    return places


def output_note(store: Store, run: str, name: str) -> str:
    """Say of an output, named `stage/port`, what `forgotten_note` says of its result."""
    manifest = pinned_manifest(store, run, name.rpartition("/")[0])
    return forgotten_note(store, manifest) if manifest else ""


def fetch_output(store: Store, run: str, name: str, dest: Path) -> Path:
    """Copy an output, named `stage/port`, into the folder `dest`; every file is verified. Returns where it lies."""
    node, _, port = name.rpartition("/")
    results = results_of(store, run)
    if node not in results or port not in results[node].outputs:
        known = [f"{n}/{p}" for n, manifest in results.items() for p in manifest.outputs]
        near = [one for one in known if one.startswith(f"{node or port}/")] or known
        raise UserError(f"run {run} has no output {name}; it has {', '.join(near)}")
    output = results[node].outputs[port]
    place = dest / output.path
    places = [place / file if output.kind == "folder" else place for file in output.files]
    in_parallel(store.download, output.files.values(), places)
    return place


def size(count: float) -> str:
    """Return a number of bytes in a unit that people read."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{rounded(count, 3)} {unit}"
        count /= 1000
    return f"{rounded(count, 3)} TB"


def _origin(record: InputRecord) -> str:
    return record.producer.split("/")[0] if record.producer else record.uri or "the run file"


def failures_of(store: Store, run: str) -> list[Failure]:
    """Return the failures of stages that have no result since."""
    failures = []
    for entry in store.list(run_key(run, "failed", "")):
        failure = read(Failure, store, entry.key)
        if failure is not None:
            result = pinned_manifest(store, run, failure.stage)
            if result is None or result.finished_at < failure.failed_at:
                failures.append(failure)
    return failures
