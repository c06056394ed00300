"""Patterns of file names: which files of a folder are read, and what to say where none is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from tuneline.errors import NothingWanted, UserError
from tuneline.parsing.problems import printable, shortened


def any_of(selections: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the patterns of all that some selections take together."""
    return () if () in selections else tuple(sorted({pattern for patterns in selections for pattern in patterns}))


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether `name`, in letters of any case, is to be read; as in the Hub's downloads, `*` matches `/` too."""
    matches = any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
    return "/." not in f"/{name}" and (not patterns or matches)


def nothing_wanted(address: str, patterns: Sequence[str], names: Collection[str]) -> UserError:
    """Return the refusal of a folder that holds `names` and none of the files that are read."""
    matching = f" that match {shortened(patterns)}" if patterns else ""
    visible = [name for name in names if "/." not in f"/{name}"]
    below = {name.rpartition("/")[::2] for name in visible if patterns and "/" in name}
    problem = f"{address}: the folder has no files{matching}"
    if folders := sorted((folder for folder, name in below if is_wanted(name, patterns)), key=by_number):
        return UserError(f"{problem}: they stand in folders like {printable(folders[-1])}. Give the one that you mean.")
    there = sorted({name.partition("/")[0] for name in visible})
    return NothingWanted(f"{problem}: it holds {shortened(there)}." if there else f"{problem}.")


def by_number(name: str) -> list[tuple[int, str]]:
    """Return a key by which `step-90` comes before `step-100`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]
