"""A release in a folder, or under a prefix of a bucket.

The statement is written first and the sums last: what began as this release goes on as it after a kill, and whoever
sees SHA256SUMS sees all of it. What others have put there is never replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tuneline.data.published import PublishedFile
from tuneline.errors import UserError
from tuneline.parsing.problems import shortened
from tuneline.stage import Place
from tuneline_publisher.statement import BUNDLE, STATEMENT, SUMS, Sealed

SMALL = 1 << 24
"""Bytes up to which a file that is there is compared by its hash; a larger one, such as a model, by its size."""


def refuse_taken(place: Place, sealed: Sealed | None = None) -> dict[str, int]:
    """Return the files of a release that are there already. Raises UserError if another one, or anything else, is.

    Before it is known what the release will be (`sealed` is None), any unfinished or whole one is let pass.
    """
    sizes = place.sizes()
    if not sizes:
        return {}
    statement = place.read(STATEMENT)
    if statement is None:
        raise UserError(
            f"{place.uri}: is not empty ({shortened(sorted(sizes))}) and holds no release. Name a new folder or prefix."
        )
    if sealed is None:
        return sizes
    if statement != sealed.paths[STATEMENT].read_bytes():
        raise UserError(f"{place.uri}: holds another release. Name a new folder or prefix for this one.")
    if foreign := sorted(sizes.keys() - sealed.paths.keys() - {BUNDLE}):
        raise UserError(f"{place.uri}: holds files of others too ({shortened(foreign)}). Remove them, or name another.")
    return sizes


def write_release(place: Place, sealed: Sealed, tick: Callable[[], None]) -> None:
    """Put every file in its place; those that are there whole stay."""
    there = refuse_taken(place, sealed)
    if STATEMENT not in there:
        place.put(sealed.paths[STATEMENT], STATEMENT)
    for name, path in sealed.paths.items():
        whole = name in there and _is_whole(place, name, sealed.files[name], there[name])
        if name not in (STATEMENT, SUMS) and not whole:
            place.put(path, name)
        tick()
    if sealed.bundle and BUNDLE not in there:
        place.put(sealed.bundle, BUNDLE)
    if place.read(SUMS) != sealed.paths[SUMS].read_bytes():
        place.put(sealed.paths[SUMS], SUMS)


def _is_whole(place: Place, name: str, file: PublishedFile, size: int) -> bool:
    if size != file.size or size > SMALL:
        return size == file.size
    return hashlib.sha256(place.read(name) or b"").hexdigest() == file.sha256
