"""What a check reads of an input that lies elsewhere: its files, but of models (safetensors, GGUF) only the headers.

Such a file then is as long as it should be, and all behind its header is a hole that takes no space: whoever reads
names and shapes does not notice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from glob import escape
from pathlib import Path

import structlog

from tuneline.engine.addresses.given import Identified, KnownFile, files_in_hub, identify, known_from, known_to
from tuneline.engine.addresses.listing import GivenFiles, list_given, names_in
from tuneline.engine.layout import known_key
from tuneline.engine.pipelines import Address
from tuneline.errors import UserError
from tuneline.parsing.patterns import any_of, is_wanted, nothing_wanted
from tuneline.parsing.problems import MAX_NAMED
from tuneline.store.base import Store, in_parallel, is_local, local_path, split_s3
from tuneline.store.verify import FileCache, plain_errors

log = structlog.get_logger()

WEIGHTS = ".safetensors"
OTHER_WEIGHTS = ".bin"
"""Whisper's in the form of CTranslate2 are read whole."""
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
GGUF = ".gguf"
GGUF_BYTES = 1 << 26
"""So much of a GGUF file is read, which does not say how long its header is: four times that of the largest known
vocabulary, 262,144 tokens with their merges."""


def glimpse(
    address: Address, name: str, selections: set[tuple[str, ...]], folder: Path, store: Store, cache: FileCache
) -> Path:
    """Return the local path of an input, with the files that stages read by `selections` (an empty one: all).

    What was read before is known by the records of `cache` and `store`, and what is read now is noted in `cache`.
    Raises UserError if nothing is there, or nothing that a stage reads.
    """
    uri, within = address.uri, address.within
    if is_local(uri):
        with plain_errors(uri):  # a name may be too long to look for
            if "://" not in uri and not Path(uri).exists():
                raise UserError(f"{uri} does not exist")
        for patterns in sorted(selections):
            list_given(uri, patterns, within)
        return local_path(uri)
    wanted = any_of(selections)
    light = tuple(pattern for pattern in wanted if not pattern.endswith(WEIGHTS))
    listed = list_given(uri, light)
    _name_others(listed, selections)
    hub = files_in_hub(listed) if listed.is_hub else {}
    for patterns in sorted(selections):
        if listed.is_folder and not any(is_wanted(file, patterns) for file in hub or listed.files):
            raise nothing_wanted(uri, patterns, names_in(listed))
    if any(file.endswith(GGUF) for file in hub or listed.files):
        return _with_beginnings(listed, hub, folder, cache)
    known = hub or _known(name, listed.uri, selections, store, cache)
    found = identify(listed, folder, known, cache)
    if not listed.is_hub:
        _note(found, name, selections, cache)
    return _with_headers(found, folder) if light != wanted else found.path


def _name_others(listed: GivenFiles, selections: set[tuple[str, ...]]) -> None:
    """Log which files of a folder no stage reads, where stages read files by their kind and not by name."""
    kinds = [pattern for patterns in selections for pattern in patterns]
    if not listed.is_folder or not kinds or not all(pattern.startswith("*.") for pattern in kinds):
        return
    others = [name for name in names_in(listed) if not is_wanted(name, kinds)]
    if others:
        log.warning("files ignored because of their names", count=len(others), names=others[:MAX_NAMED])


def _known(
    name: str, uri: str, selections: set[tuple[str, ...]], store: Store, cache: FileCache
) -> dict[str, KnownFile]:
    keys = [known_key(name, uri, patterns) for patterns in selections]
    return {file: one for key in keys for file, one in known_from(cache.noted(key) or store.get(key)).items()}


def _note(found: Identified, name: str, selections: set[tuple[str, ...]], cache: FileCache) -> None:
    for patterns in selections:
        key = known_key(name, found.uri, patterns)
        if cache.noted(key) is None:
            files = {file: one for file, one in found.files.items() if is_wanted(file, patterns)}
            cache.note(key, known_to(files))


def _with_beginnings(given: GivenFiles, hub: Mapping[str, KnownFile], folder: Path, cache: FileCache) -> Path:
    """Return a file, or a folder, in which GGUF files have no more than their beginning; `hub` is what it lists."""
    sizes = {name: file.size for name, file in (hub or given.files).items()}
    models = {name: size for name, size in sizes.items() if name.endswith(GGUF)}
    rest = [name for name in sizes if name not in models]
    if rest:
        files = {name: file for name, file in given.files.items() if name in rest}
        others = replace(given, patterns=tuple(map(escape, rest)), files=files)
        path = identify(others, folder, {name: file for name, file in hub.items() if name in rest}, cache).path
        if path != folder:  # the Hub's cache, to which nothing may be added
            _copy(path, rest, folder)
    read = _reader(given)

    def bring(name: str, size: int) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(read(name, 0, min(size, GGUF_BYTES)) if size else b"")
            file.truncate(size)

    in_parallel(bring, models, models.values())
    return folder if given.is_folder else folder / next(iter(models))


def _reader(given: GivenFiles) -> Callable[[str, int, int], bytes]:
    """Return how to read bytes of a file by its name."""
    if given.is_hub:
        from tuneline.engine.addresses.hub import read_range

        return lambda name, start, end: read_range(given.uri, name, start, end)
    from tuneline.store.s3 import S3Store

    bucket, key = split_s3(given.uri)
    return S3Store(bucket, key if given.is_folder else key.rpartition("/")[0]).read_range


def _copy(path: Path, names: Iterable[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / name, folder / name)


def _with_headers(found: Identified, folder: Path) -> Path:
    """Return a folder with the files found and the headers of the weights beside them."""
    path, sizes, read = found.path, *_weights(found)
    if all((path / name).is_file() for name in sizes):
        return path
    if path != folder:  # the Hub's cache, to which nothing may be added
        _copy(path, found.files, folder)

    def bring(name: str, size: int) -> None:
        _write(folder / name, size, lambda start, end: read(name, start, end), f"{found.uri}/{name}")

    in_parallel(bring, sizes, sizes.values())
    return folder


def _weights(found: Identified) -> tuple[dict[str, int], Callable[[str, int, int], bytes]]:
    """Return the sizes of the files of weights, and how to read bytes of one."""
    if found.given.is_hub:
        sizes = {name: file.size for name, file in files_in_hub(replace(found.given, patterns=())).items()}
    else:
        from tuneline.store.s3 import S3Store

        sizes = {entry.key: entry.size for entry in S3Store(*split_s3(found.uri)).list("")}
    weights = {name: size for name, size in sizes.items() if name.endswith(WEIGHTS)}
    if not weights and not any(name.endswith(OTHER_WEIGHTS) for name in found.files):
        raise nothing_wanted(found.uri, (f"*{WEIGHTS}",), sorted(sizes.keys() - found.files.keys()))
    return weights, _reader(found.given)


def _write(place: Path, size: int, read: Callable[[int, int], bytes], source: str) -> None:
    """Write the header, and a hole up to `size`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    length = int.from_bytes(read(0, 8), "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
        raise UserError(f"{source} is damaged: copy it again")
    with place.open("wb") as file:
        file.write(length.to_bytes(8, "little") + read(8, 8 + length))
        file.truncate(size)
